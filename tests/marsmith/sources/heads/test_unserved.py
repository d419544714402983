"""What no head runs as it was trained is refused with why; what the hint says to do is right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, processors

from handlers import tasks
from handlers.runtimes.eager import ModuleRuntime
from handlers.tasks.reranking import Reranking
from marsmith.cache import Cache
from marsmith.errors import UnsupportedError
from marsmith.sources.heads import _unserved
from marsmith.sources.huggingface import HuggingFace
from tests.support.in_batches import answers_in_batches
from tests.support.transformers_tokenizers import SIZES, WORDS, write_bert_tokenizer

NO, YES = 9, 10  # any two tokens
PAIRS: list[dict[str, Any]] = [
    {"query": "the cat", "documents": ["a dog", "a cat the dogs", "größte", "dog cat dog cat"]},
    {"query": "dogs", "documents": ["the", "a the cat"]},
]


def writer(folder: Path) -> Any:
    """A tiny Qwen3 that writes text, and its tokenizer."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=5 + len(WORDS), intermediate_size=24, num_key_value_heads=1, head_dim=8,
        max_position_embeddings=64, initializer_range=0.5, pad_token_id=0, **SIZES,
    )  # fmt: skip
    model = Qwen3ForCausalLM(config).eval()
    model.save_pretrained(folder)
    write_bert_tokenizer(folder)
    return model


@pytest.mark.parametrize(
    ("architecture", "task", "why", "hint"),
    [
        ("Qwen3ForCausalLM", "reranking", "which writes text", "Qwen3ForSequenceClassification"),
        ("Wav2Vec2ForXVector", "audio_classification", "vector of a voice", "its embeddings alone"),
        (
            "Mask2FormerForUniversalSegmentation", "semantic_segmentation", "masks and their",
            "masks_queries_logits alone",
        ),
        (
            "SpeechT5ForTextToSpeech", "speech_synthesis", "spectra frame by frame",
            "whose module makes waveforms",
        ),
    ],
)  # fmt: skip
def test_it_is_refused_with_why_and_what_to_do(
    tmp_path: Path, architecture: str, task: str, why: str, hint: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"architectures": [architecture]}))
    with pytest.raises(UnsupportedError, match=why) as caught:
        _unserved.refuse(tmp_path, task)
    assert hint in caught.value.hint


@pytest.mark.parametrize("named", [{}, {"architectures": None}, {"architectures": ["Qwen3Model"]}])
def test_others_are_not(tmp_path: Path, named: dict[str, Any]) -> None:
    (tmp_path / "config.json").write_text(json.dumps(named))
    _unserved.refuse(tmp_path, "reranking")


def test_a_reranker_that_writes_is_refused_and_ranks_the_same_as_a_classifier(
    tmp_path: Path,
) -> None:
    from transformers import AutoModelForSequenceClassification

    model = writer(folder := tmp_path / "model")
    with pytest.raises(UnsupportedError, match="'yes' rather than 'no'"):
        HuggingFace(huggingface=folder, head="reranking").load(Cache(tmp_path), lambda line: None)
    # What the hint says: one class, and what stands around a pair in the tokenizer.
    kind: Any = AutoModelForSequenceClassification
    made = kind.from_pretrained(folder, num_labels=1)
    rows = model.lm_head.weight.detach()
    made.score.weight.data = rows[YES : YES + 1] - rows[NO : NO + 1]
    made.save_pretrained(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A",
        pair="before $A:0 between $B:0 behind:0",
        special_tokens=[
            {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
            {"id": "before", "ids": [2, 7], "tokens": ["[CLS]", "a"]},
            {"id": "between", "ids": [3, 5], "tokens": ["[SEP]", "the"]},
            {"id": "behind", "ids": [3, 4, 6], "tokens": ["[SEP]", "[MASK]", "cat"]},
        ],
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    source = HuggingFace(huggingface=folder, head="reranking")
    module = source.load(Cache(tmp_path), lambda line: None)
    (out := tmp_path / "out").mkdir()
    handler: Reranking = tasks.find("reranking")()
    handler.configure({"task": "reranking", **source.bring(module, out, {})}, out)
    handler.use(ModuleRuntime(module, torch.device("cpu")), batch_size=4)
    samples = [handler.decode(each, handler.default_options) for each in PAIRS]
    for answer, asked in zip(answers_in_batches(handler, samples), PAIRS, strict=True):
        wanted = []
        for document in asked["documents"]:
            words = [tokenizer.encode(t, add_special_tokens=False).ids
                     for t in (asked["query"], document)]  # fmt: skip
            ids = [2, 7, *words[0], 3, 5, *words[1], 3, 4, 6]
            with torch.inference_mode():
                logits = model(torch.tensor([ids])).logits[0, -1]
            wanted.append(float(logits[[NO, YES]].softmax(0)[1]))
        scores = {each["index"]: each["score"] for each in answer["results"]}
        assert [scores[n] for n in range(len(wanted))] == pytest.approx(wanted, abs=1e-5)
