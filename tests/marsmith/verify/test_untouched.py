"""The user's own model comes first: what stands before and behind it may change nothing."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from examples import digits
from handlers.generation.detokenizer import Detokenizer
from handlers.runtimes import Tensors
from handlers.tasks.image_classification import ImageClassification
from marsmith.cache import Cache
from marsmith.errors import BuildError, GateError, UnsupportedError
from marsmith.pipeline.original import Prepared, prepare
from marsmith.recipe import reading
from marsmith.recipe.sections import Recipe
from marsmith.sources.heads import _on_tokens, _sentence_layers, _tokenizer, text_embedding
from tests.support import encoder_decoders
from tests.support.language_model import END, TOKENS, tokenizer
from tests.support.transformers_tokenizers import SIZES, write_bert_tokenizer

TEXTS = [b"the cat", b"a dog", b"the cat a dogs", b"dog " * 9, b"the dogs, the cat"]
PAIRS = [b'{"question": "a cat", "context": "the cat a dogs the dog"}'] * 2
AUTO = {
    "text_classification": "AutoModelForSequenceClassification",
    "token_classification": "AutoModelForTokenClassification",
    "question_answering": "AutoModelForQuestionAnswering",
}


def bodies() -> list[bytes]:
    return TEXTS


def pairs() -> list[bytes]:
    return PAIRS


def folder_of(task: str, folder: Path) -> Path:
    """A folder with random weights that are far from each other."""
    import transformers

    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=13, max_position_embeddings=40, intermediate_size=16, initializer_range=0.7,
        id2label=dict(enumerate(["good", "bad", "neither"][: 2 + (task != "question_answering")])),
        **SIZES,
    )  # fmt: skip
    getattr(transformers, AUTO[task]).from_config(config).save_pretrained(folder)
    write_bert_tokenizer(folder)
    return folder


def prepared(task: str, folder: Path, work: Path, **more: object) -> Prepared:
    data = "pairs" if task == "question_answering" else "bodies"
    settings = {
        "name": "m", "task": task, "source": {"huggingface": str(folder)},
        "evaluation": {"data": f"{__name__}:{data}"}, **more,
    }  # fmt: skip
    (work / "work").mkdir()
    return prepare(reading.load(settings), work, work / "work", lambda line: None)


@pytest.mark.parametrize("task", AUTO)
def test_a_folder_is_compared_with_what_transformers_says(tmp_path: Path, task: str) -> None:
    found = prepared(task, folder_of(task, tmp_path / "model"), tmp_path)
    assert [rung.name for rung in found.rungs] == ["untouched", "original"]
    assert found.rungs[0].by.endswith("on the folder as it is")
    assert found.rungs[0].samples == len(found.ladder.batches.samples)
    assert 0 < found.original.difference.max_abs_error < 1e-4 or task == "question_answering"
    assert found.original.difference.min_cosine > 0.9999


@pytest.mark.parametrize("name", ["names.json", "labels.json"])  # the latter as the folder's
def test_a_recipe_may_call_the_labels_otherwise(tmp_path: Path, name: str) -> None:
    folder = folder_of("text_classification", tmp_path / "model")
    (tmp_path / name).write_text('["gut", "schlecht", "weder"]')
    more = {"handler": {"labels": name}, "files": [str(tmp_path / name)]}
    found = prepared("text_classification", folder, tmp_path, **more)
    assert [rung.name for rung in found.rungs] == ["untouched", "original"]


def no_masks(self: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor, *more: Any) -> Any:
    return self.model(input_ids=input_ids)[0]


def swapped(self: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor, *more: Any) -> Any:
    return self.model(input_ids=attention_mask, attention_mask=input_ids)[0]


def permuted(config: Any) -> list[str]:
    return ["bad", "good", "neither"]


def without_marks(module: torch.nn.Module, folder: Path, out: Path) -> _tokenizer.TokenSettings:
    """The tokenizer without what it puts before and behind a text."""
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing

    tokenizer = Tokenizer.from_file(str(folder / _tokenizer.FILE))
    tokenizer.post_processor = TemplateProcessing(single="$A", pair="$A $B:1")
    tokenizer.save(str(out / _tokenizer.FILE))
    return {"tokenizer": _tokenizer.FILE, "max_tokens": 40}


@pytest.mark.parametrize(
    ("of", "name", "broken", "words"),
    [
        (_on_tokens.OnTokens, "forward", no_masks, "output .* of the model"),
        (_on_tokens.OnTokens, "forward", swapped, "output .* of the model"),
        (_on_tokens, "labels", permuted, r"is answered with .*; the model's own code says"),
        (_tokenizer, "bring", without_marks, "item 0"),
    ],
    ids=["mask dropped", "inputs swapped", "labels permuted", "tokens left out"],
)
def test_a_broken_wrapper_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of: Any, name: str, broken: object, words: str
) -> None:
    folder = folder_of("text_classification", tmp_path / "model")
    monkeypatch.setattr(_tokenizer, "see_that_it_pads", lambda *_: None)  # it would refuse some
    monkeypatch.setattr(of, name, broken)
    with pytest.raises(GateError, match=words):
        prepared("text_classification", folder, tmp_path)


def test_an_embedding_is_that_of_sentence_transformers(tmp_path: Path) -> None:
    library = pytest.importorskip("sentence_transformers")
    import transformers

    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=13, max_position_embeddings=40, intermediate_size=16, initializer_range=0.7,
        **SIZES,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(tmp_path / "bert")
    write_bert_tokenizer(tmp_path / "bert")
    layers = library.sentence_transformer.modules
    encoder = layers.Transformer(str(tmp_path / "bert"))
    library.SentenceTransformer(modules=[encoder, layers.Pooling(16, "mean")]).save(
        str(tmp_path / "model")
    )
    found = prepared("text_embedding", tmp_path / "model", tmp_path)
    assert [rung.name for rung in found.rungs] == ["untouched", "original"]
    assert found.original.difference.max_abs_error < 1e-5


def unmasked(self: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor, *more: Any) -> Any:
    states = self.model(input_ids=input_ids)[0].float()
    return self.behind(self.pool(states, attention_mask))


def encoder(folder: Path) -> None:
    import transformers

    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=13, max_position_embeddings=40, intermediate_size=16, initializer_range=0.7,
        **SIZES,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder)
    write_bert_tokenizer(folder)


@pytest.mark.parametrize("broken", [False, True])
def test_an_embedding_that_no_library_describes_is_the_mean_of_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    encoder(tmp_path / "model")
    if broken:
        monkeypatch.setattr(_tokenizer, "see_that_it_pads", lambda *_: None)  # it would refuse it
        monkeypatch.setattr(text_embedding.Embedding, "forward", unmasked)
        with pytest.raises(GateError, match=r"output .* of the model"):
            prepared("text_embedding", tmp_path / "model", tmp_path)
    else:
        said = {"prompts": {"query": "dog "}, "default_prompt_name": "query"}
        found = prepared("text_embedding", tmp_path / "model", tmp_path, handler=said)
        assert [rung.name for rung in found.rungs] == ["untouched", "original"]
        assert found.original.difference.max_abs_error < 1e-5


POOLINGS = {
    "cls": "lasttoken", "lasttoken": "cls", "max": "mean", "mean": "weightedmean",
    "mean_sqrt_len_tokens": "max", "weightedmean": "mean",
}  # fmt: skip
"""All there are, and what each is taken for."""


@pytest.mark.parametrize("taken", [None, *POOLINGS])
def test_an_embedding_is_pooled_as_a_folder_without_a_list_of_layers_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: str | None
) -> None:
    encoder(tmp_path / "model")
    (tmp_path / "model" / "1_Pooling").mkdir()
    says = {"pooling_mode": [taken] if taken else list(POOLINGS), "include_prompt": False}
    (tmp_path / "model" / "1_Pooling" / "config.json").write_text(json.dumps(says))
    if taken:
        wrong = _sentence_layers.POOLING[POOLINGS[taken]]
        monkeypatch.setitem(_sentence_layers.POOLING, taken, wrong)
        with pytest.raises(GateError, match=r"output .* of the model"):
            prepared("text_embedding", tmp_path / "model", tmp_path)
    else:
        found = prepared("text_embedding", tmp_path / "model", tmp_path)
        assert [rung.name for rung in found.rungs] == ["untouched", "original"]
        assert found.original.difference.max_abs_error < 1e-5
        assert found.recipe.handler["exclude_prompt"] is True


# -- Text that is written ------------------------------------------------------------------------


def written(task: str, folder: Path, work: Path) -> Prepared:
    if task == "text_to_text":
        encoder_decoders.write(folder, "bart")
    else:
        from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=TOKENS, eos_token_id=0, bos_token_id=0, initializer_range=0.3,
            intermediate_size=24, max_position_embeddings=96, **SIZES,
        )  # fmt: skip
        LlamaForCausalLM(config).save_pretrained(folder)
        known = PreTrainedTokenizerFast(tokenizer_object=tokenizer(), eos_token=END)
        known.save_pretrained(folder)
    return prepared(task, folder, work)


WRITERS = ["text_generation", "text_to_text"]


@pytest.mark.parametrize("task", WRITERS)
def test_what_is_written_is_compared_with_what_generate_writes(tmp_path: Path, task: str) -> None:
    found = written(task, tmp_path / "model", tmp_path)
    assert [rung.name for rung in found.rungs] == ["untouched", "original"]
    assert found.rungs[0].samples == len(TEXTS)


@pytest.mark.parametrize("task", WRITERS)
def test_what_goes_wrong_behind_the_first_token_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    whole = Detokenizer.add

    def doubled(self: Detokenizer, token: int) -> str:
        piece = whole(self, token)
        return piece * 2 if len(self._ids) > 12 else piece

    monkeypatch.setattr(Detokenizer, "add", doubled)
    with pytest.raises(GateError, match=r"item \d is answered with .*; the model's own code says"):
        written(task, tmp_path / "model", tmp_path)


def test_settings_of_generate_that_are_not_known_are_refused(tmp_path: Path) -> None:
    written("text_generation", tmp_path / "model", tmp_path)
    said = {"suppress_tokens": [5, 7]}
    (tmp_path / "model" / "generation_config.json").write_text(json.dumps(said))
    shutil.rmtree(tmp_path / "work")
    with pytest.raises(UnsupportedError, match="'suppress_tokens' in generation_config"):
        prepared("text_generation", tmp_path / "model", tmp_path)


# -- What the user's own code says ---------------------------------------------------------------

WEIGHTS: dict[str, Path] = {}


def own(body: bytes) -> torch.Tensor:
    """A script of the user's own, around the digits' module."""
    pixels = np.asarray(Image.open(io.BytesIO(body)), np.float32) / 255
    module = digits.model().eval()
    module.load_state_dict(load_file(WEIGHTS["digits"]))
    with torch.inference_mode():
        found: torch.Tensor = module(torch.from_numpy(pixels)[None, None])
    return found


def logits(given: Sequence[bytes]) -> list[np.ndarray[Any, Any]]:
    return [own(body).numpy()[0] for body in given]


def scores(given: Sequence[bytes]) -> list[dict[str, float]]:
    return [dict(zip("0123456789", own(x).softmax(1)[0].tolist(), strict=True)) for x in given]


def best(given: Sequence[bytes]) -> list[dict[str, float]]:
    return [dict([max(each.items(), key=lambda one: one[1])]) for each in scores(given)]


def inverted(given: Sequence[bytes]) -> list[dict[str, float]]:
    return [{str(9 - int(name)): score for name, score in each.items()} for each in scores(given)]


def named(given: Sequence[bytes]) -> list[dict[str, torch.Tensor]]:
    return [{"output": own(body)} for body in given]


def misnamed(given: Sequence[bytes]) -> list[dict[str, torch.Tensor]]:
    return [{"logits": own(body)} for body in given]


def of_numpy(given: Sequence[bytes]) -> list[dict[str, np.generic]]:
    return [{name: np.float32(score) for name, score in each.items()} for each in scores(given)]


def empty(given: Sequence[bytes]) -> list[dict[str, float]]:
    return [{} for _ in given]


def nothing(given: Sequence[bytes]) -> list[None]:
    return [None for _ in given]


def too_few(given: Sequence[bytes]) -> list[dict[str, float]]:
    return scores(given[:3])


@pytest.fixture
def build(digits_recipe: Recipe, store: Path, tmp_path: Path) -> Callable[..., Prepared]:
    """Prepare digits, compared with a function of this file; more of its handler's settings."""
    module = digits_recipe.source.load(Cache(store / ".cache" / "made"), lambda line: None)
    from safetensors.torch import save_file

    WEIGHTS["digits"] = tmp_path / "digits.safetensors"
    save_file(module.state_dict(), WEIGHTS["digits"])
    (tmp_path / "work").mkdir()

    def run(expected: str, handler: Mapping[str, object] | None = None) -> Prepared:
        assert digits_recipe.evaluation
        changed = digits_recipe.model_copy(
            update={
                "evaluation": digits_recipe.evaluation.model_copy(
                    update={"expected": f"{__name__}:{expected}"}
                ),
                "handler": {**digits_recipe.handler, **(handler or {})},
            }
        )
        return prepare(changed, store / ".cache", tmp_path / "work", lambda line: None)

    return run


@pytest.mark.parametrize("expected", ["logits", "named", "scores", "of_numpy", "best"])
def test_users_can_say_what_their_own_code_says(
    build: Callable[..., Prepared], expected: str
) -> None:
    found = build(expected)
    assert (found.rungs[0].name, found.rungs[0].samples) == ("untouched", 64)
    assert found.rungs[0].by == f"what {__name__}:{expected} returns"
    assert found.original.difference.max_abs_error < 1e-4


@pytest.mark.parametrize("expected", ["logits", "scores", "best"])
def test_a_normalisation_that_the_model_was_not_trained_with_is_refused(
    build: Callable[..., Prepared], expected: str
) -> None:
    with pytest.raises(GateError, match=r"item \d+"):
        build(expected, {"mean": [0.5], "std": [0.5]})


def test_an_answer_that_is_another_one_in_a_batch_is_refused(
    build: Callable[..., Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ImageClassification.answer

    def shifted(self: Any, outputs: Tensors, samples: Any) -> Any:
        turned = {name: x.roll(1, dims=1) if len(x) > 1 else x for name, x in outputs.items()}
        return whole(self, turned, samples)

    monkeypatch.setattr(ImageClassification, "answer", shifted)
    with pytest.raises(GateError, match=r"item \d+ is answered with"):
        build("best", {"defaults": {"top_k": 1}})  # of a part that other answers don't have


def test_labels_in_another_order_are_refused(build: Callable[..., Prepared]) -> None:
    with pytest.raises(GateError, match="item 0 is answered with"):
        build("inverted")


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        ("too_few", "returned 3 answers to 64 bodies"),
        ("nothing", "says nothing to any of 64 bodies"),
        ("empty", "says nothing to any of 64 bodies"),
        ("misnamed", "has no output 'logits'"),
    ],
)
def test_what_can_not_be_compared_is_refused(
    build: Callable[..., Prepared], expected: str, words: str
) -> None:
    with pytest.raises(BuildError, match=words):
        build(expected)
