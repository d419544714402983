"""Folders with models that sentencepiece has trained, and no tokenizer.json."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

SIGNS = (
    "abcxyz ABC  \t\n.,!?'\"-_()0123456789éüß模型のнм\u00a0\u200b\u3000ﬁ½①Å"
    "\u0301👩\u200d🔬\u202e<>/▁"
)
WHOLE = [
    "", " ", "  a", "a  ", "\n", "</s>", "<s> a", "a</s>b", "<unk>", "<pad>", "[CLS] a", "x" * 50,
    "▁a ▁", "\ufeffa", "ﬁne ①", "a\x00b", "user\u2028line", "\uff26\uff55ll", "e\u0301" * 9,
]  # fmt: skip
WORDS = [
    "the", "value", "of", "a", "list", "is", "no", "string", "größe", "naïve", "модель", "нового",
    "模型", "測試", "テキスト", "نموذج",
]  # fmt: skip


class Kind(NamedTuple):
    """How a family's model is trained, what its file is called, and how its folder says it."""

    file: str
    training: Mapping[str, Any]
    model: str
    tokenizer: str


UNIGRAM = {"vocab_size": 120, "model_type": "unigram", "character_coverage": 1.0}
BYTES = {"vocab_size": 420, "model_type": "bpe", "byte_fallback": True,
         "normalization_rule_name": "identity", "remove_extra_whitespaces": False}  # fmt: skip
KINDS = {
    "t5": Kind("spiece.model", {**UNIGRAM, "pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1},
               "t5", "T5Tokenizer"),
    "xlm_roberta": Kind("sentencepiece.bpe.model", UNIGRAM, "xlm-roberta", "XLMRobertaTokenizer"),
    "llama": Kind("tokenizer.model", {**BYTES, "split_digits": True}, "llama", "LlamaTokenizer"),
    "gemma": Kind("tokenizer.model", {**BYTES, "pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3,
                                      "add_dummy_prefix": False}, "gemma", "GemmaTokenizer"),
}  # fmt: skip


def train(kind: Kind) -> bytes:
    """A model of sentences of chance, that is always the same."""
    import sentencepiece

    chance, made = random.Random(0), io.BytesIO()
    sentences = [" ".join(chance.choices(WORDS, k=8)) + " 0 1 2 3 4." for _ in range(300)]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_writer=made, minloglevel=2, num_threads=1,
        hard_vocab_limit=False, **kind.training,
    )  # fmt: skip
    return made.getvalue()


def save(kind: Kind, folder: Path) -> bytes:
    """Write a folder as such a model came before tokenizer.json was; return its pieces."""
    folder.mkdir()
    (folder / kind.file).write_bytes(made := train(kind))
    (folder / "config.json").write_text(json.dumps({"model_type": kind.model}))
    said = {"tokenizer_class": kind.tokenizer}
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    return made


def plain_texts(count: int) -> list[str]:
    """Words with one blank between, as people write them."""
    chance = random.Random(1)
    return [" ".join(chance.choices(WORDS, k=chance.randint(1, 9))) for _ in range(count)]


def strange_texts(count: int) -> list[str]:
    """What tokenizers read differently, if anything."""
    chance = random.Random(2)
    found = [*WHOLE]
    while len(found) < count:
        signs = "".join(chance.choices(SIGNS, k=chance.randint(0, 30)))
        found.append(chance.choice([signs, chance.choice(WHOLE) + signs, f"the {signs} value"]))
    return found
