"""Texts in, what follows them out: settings, lengths, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from handlers import tasks
from handlers.errors import BadRequest, LoadError
from handlers.schema import JsonObject
from handlers.tasks.text_generation import TextGeneration
from marsmith.client.comparison import difference
from tests.support.language_model import END, SHAPE, runtime, tokenizer

SETTINGS: dict[str, Any] = {
    "layers": SHAPE.layers,
    "key_value_heads": SHAPE.heads,
    "head_size": SHAPE.size,
}
SETTINGS |= {"max_tokens": 40, "stop_tokens": [END]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("archive")
    tokenizer().save(str(made / "tokenizer.json"))
    return made


def configured(folder: Path, **section: Any) -> TextGeneration:
    handler: TextGeneration = tasks.find("text_generation")()
    handler.configure({"task": "text_generation", **SETTINGS, **section}, folder)
    handler.use(runtime(), batch_size=8)
    return handler


def answers(handler: TextGeneration, texts: list[str], **options: Any) -> list[JsonObject]:
    samples = [handler.decode(text, handler.Options(**options)) for text in texts]
    outputs = handler.runtime(handler.collate(samples))
    return [each.to_json() for each in handler.answer(outputs, samples)]


def test_a_batch_is_answered_as_each_alone(folder: Path) -> None:
    handler, texts = configured(folder), ["a", "größe 模型", "x" * 60]
    for wanted in ({}, {"temperature": 1.0, "seed": 4}, {"score": True, "max_new_tokens": 0}):
        together = answers(handler, texts, **wanted)
        alone = [answers(handler, [text], **wanted)[0] for text in texts]
        assert difference(together, alone) < 1e-4


@pytest.mark.parametrize(
    ("length", "wanted", "prompt", "limit"),
    [(5, 10, 5, 10), (5, 99, 5, 35), (39, 10, 30, 10), (99, 99, 20, 20), (99, 0, 40, 0)],
)
def test_prompt_and_text_fit_the_model(
    folder: Path, length: int, wanted: int, prompt: int, limit: int
) -> None:
    handler = configured(folder, stop_tokens=[])
    text = "".join(chr(97 + place % 26) for place in range(length))
    (answer,) = answers(handler, [text], max_new_tokens=wanted)
    assert (answer["prompt_tokens"], answer["tokens"]) == (prompt, limit)
    assert answer["truncated"] == (prompt < length)
    sample = handler.decode(text, handler.Options(max_new_tokens=wanted))
    assert handler.tokenizer.decode(sample.meta.ids) == text[-prompt:]  # its end is kept


def test_what_stands_before_a_text_stays_when_it_is_cut(folder: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing

    marked = Tokenizer.from_file(str(folder / "tokenizer.json"))
    marked.post_processor = TemplateProcessing(single=f"{END} $A", special_tokens=[(END, 0)])
    marked.save(str(tmp_path / "tokenizer.json"))
    handler = configured(tmp_path)
    prompt = handler.decode("x" * 60 + "y", handler.Options(max_new_tokens=10)).meta
    ids, cut = prompt.ids, prompt.truncated
    assert (ids[0], len(ids), cut) == (0, 30, True)
    assert handler.tokenizer.decode(ids) == "x" * 28 + "y"


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("", {}, "no tokens"),
        ("x" * 60, {"truncate": False}, "has 60 tokens; 20 are allowed"),
        ("x", {"stop": ("",)}, "1 to 64 characters"),
        ("x", {"stop": ("y" * 65,)}, "1 to 64 characters"),
        (7, {}, "must be a string"),
    ],
)
def test_what_cannot_be_written_on_is_refused(
    folder: Path, text: Any, options: dict[str, Any], words: str
) -> None:
    handler = configured(folder)
    with pytest.raises(BadRequest, match=words):
        handler.decode(text, handler.Options(**options))


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"layers": 0}, "must be at least 1"),
        ({"stop_tokens": ["<eos>"]}, "is not a token of the tokenizer"),
        ({"tokenizer": "vocab.txt"}, "no tokenizer vocab.txt"),
        ({"defaults": {"top_p": 2}}, "must be at most 1"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    folder: Path, section: dict[str, Any], words: str
) -> None:
    with pytest.raises(LoadError, match=words):
        configured(folder, **section)
    with pytest.raises(LoadError, match="must be the model's"):
        tasks.find("text_generation")().configure({"task": "text_generation"}, folder)


def test_its_example_is_the_same_whatever_the_defaults(folder: Path) -> None:
    handler = configured(folder, defaults={"temperature": 1.0, "max_new_tokens": 30})
    media_type, body = handler.example()
    said = json.loads(body)
    first, again = (answers(handler, [said["data"]], **said["parameters"]) for _ in range(2))
    assert (media_type, first) == ("application/json", again)
    assert json.loads(json.dumps(handler.describe_input()))["max_tokens"] == 40


def test_it_is_timed_on_what_it_mostly_does(folder: Path) -> None:
    handler = configured(folder)
    samples = [handler.decode(text, handler.Options()) for text in ("a", "bcd")]
    batch = handler.typical(samples)
    assert batch["input_ids"].shape == (2, 1)
    assert list(batch) == list(handler.collate(samples))
    assert handler.runtime(batch)["output_0"].shape[:2] == (2, 1)
    assert set(handler.varying_axes()) == set(batch) - {"past_tokens"}
