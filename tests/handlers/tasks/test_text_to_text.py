"""Texts in, texts out: settings, lengths, languages, streams, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from examples import dates
from handlers import tasks
from handlers.errors import BadRequest, LoadError, ModelError
from handlers.runtimes import Tensors
from handlers.runtimes.eager import ModuleRuntime
from handlers.tasks.text_to_text import TextToText

SETTINGS: dict[str, Any] = {"layers": dates.LAYERS, "key_value_heads": dates.HEADS}
SETTINGS |= {"head_size": dates.SIZE, "max_tokens": 40, "max_target_tokens": 20}
SETTINGS |= {"start_token": "<s>", "stop_tokens": ["</s>"]}
TEXTS = ["25. Mai 1997", "5", "den 3 juni 2001", "1. 1. 1999 a 2. 2. 2002 a"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("archive")
    dates.assets(torch.nn.Identity(), made)
    return made


def configured(folder: Path, run: Any = None, **section: Any) -> TextToText:
    handler: TextToText = tasks.find("text_to_text")()
    handler.configure({"task": "text_to_text", **SETTINGS, **section}, folder)
    torch.manual_seed(2)
    model = dates.Translator(dates.tokenizer().get_vocab_size()).eval()
    torch.nn.init.normal_(model.logits.weight, std=2.0)  # or all texts are alike
    handler.use(run or ModuleRuntime(model, torch.device("cpu")), batch_size=4)
    return handler


def answers(handler: TextToText, texts: list[str], **options: Any) -> list[Any]:
    asked = handler.Options(**options)
    samples = [handler.decode(text, asked) for text in texts]
    outputs = handler.inference(handler.collate(samples))
    return [answer.to_json() for answer in handler.answer(outputs, samples)]


@pytest.mark.parametrize("beams", [1, 3])
def test_together_each_is_answered_as_alone(folder: Path, beams: int) -> None:
    handler = configured(folder)
    together = answers(handler, TEXTS, num_beams=beams, max_new_tokens=10)
    alone = [answers(handler, [text], num_beams=beams, max_new_tokens=10)[0] for text in TEXTS]
    assert together == alone
    assert len({answer["text"] for answer in together}) > 1
    for text, answer in zip(TEXTS, together, strict=True):
        assert answer["source_tokens"] == len(dates.tokenizer().encode(text).ids)
        assert answer["finish_reason"] in ("stop", "length")


def test_a_prefix_is_read_before_the_text(folder: Path) -> None:
    handler = configured(folder)
    (said,) = answers(handler, ["Mai 1997"], prefix="25. ")
    assert said == answers(handler, ["25. Mai 1997"])[0]
    assert said != answers(handler, ["Mai 1997"])[0]


def test_a_long_text_is_cut_or_refused(folder: Path) -> None:
    handler = configured(folder)
    (said,) = answers(handler, ["1" * 100])
    assert (said["source_tokens"], said["truncated"]) == (40, True)
    with pytest.raises(BadRequest, match="more than 40 tokens"):
        answers(handler, ["1" * 100], truncate=False)


def test_no_more_is_written_than_there_is_room_for(folder: Path) -> None:
    handler = configured(folder, stop_tokens=[])
    for beams in (1, 2):
        (said,) = answers(handler, ["5"], max_new_tokens=500, num_beams=beams)
        assert (said["tokens"], said["finish_reason"]) == (19, "length")
        (said,) = answers(handler, ["5"], max_new_tokens=0, num_beams=beams)
        assert (said["tokens"], said["text"], said["finish_reason"]) == (0, "", "length")


def test_a_language_is_one_of_the_model(folder: Path) -> None:
    handler = configured(folder, languages=["a", "b"])
    assert answers(handler, ["5"], target_language="b")[0]["text"].startswith("b")
    with pytest.raises(BadRequest, match="'target_language'; allowed: a, b"):
        answers(handler, ["5"], target_language="c")


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"layers": 0}, "must be at least 1"),
        ({"start_token": ""}, "'start_token' must say"),
        ({"start_token": "<begin>"}, "'<begin>' in the settings is not a token"),
        ({"suppressed_tokens": ["<no>"]}, "'<no>' in the settings is not a token"),
        ({"defaults": {"num_beams": 9}}, "must be at most 8"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    folder: Path, section: dict[str, Any], words: str
) -> None:
    with pytest.raises(LoadError, match=words):
        configured(folder, **section)


@pytest.mark.parametrize("beams", [1, 3])
def test_a_model_of_another_form_is_refused_and_one_that_fails_fails_alone(
    folder: Path, beams: int
) -> None:
    handler = configured(folder)
    own, bad = handler.runtime, dates.tokenizer().encode("7").ids[0]
    handler.use(lambda inputs: dict(list(own(inputs).items())[:-1]), batch_size=4)
    with pytest.raises(ModelError, match="an encoder-decoder answers 4 tensors"):
        answers(handler, ["5"], num_beams=beams)
    handler.use(own, batch_size=4)

    def run(inputs: Tensors) -> Tensors:
        if (inputs["source_ids"] == bad).any():
            raise RuntimeError("bad luck")
        return own(inputs)

    expected = answers(handler, ["5", "6"], num_beams=beams)
    handler.use(run, batch_size=8)
    asked = handler.Options(num_beams=beams)
    rows = [handler.sequence(handler.decode(text, asked)) for text in ("5", "7", "6")]
    decoder = handler.decoder(8)
    for row in rows:
        decoder.add(row)
    while decoder.busy:
        decoder.step()
    assert rows[1].error is not None
    assert [handler.written(row).to_json() for row in rows[::2]] == expected


def test_who_gives_up_leaves_all_slots(folder: Path) -> None:
    handler = configured(folder)
    decoder = handler.decoder(8)
    rows = [
        handler.sequence(handler.decode(text, handler.Options(num_beams=beams, max_new_tokens=9)))
        for text, beams in (("5", 3), ("25. Mai", 1), ("6. 6.", 4))
    ]
    for row in rows:
        decoder.add(row)
    for _ in range(3):
        decoder.step()
    decoder.abort(rows[0])
    rows[2].expire()
    while decoder.busy:
        decoder.step()
    assert rows[2].reason == "time"
    assert rows[1].text == answers(handler, ["25. Mai"], max_new_tokens=9)[0]["text"]


def test_it_is_timed_on_what_it_mostly_does(folder: Path) -> None:
    handler = configured(folder)
    samples = [handler.decode(text, handler.Options()) for text in ("5", "6 7")]
    batch = handler.typical(samples)
    assert batch["source_ids"].shape == batch["input_ids"].shape == (2, 1)
    assert list(batch) == list(handler.collate(samples))
    assert handler.runtime(batch)["output_0"].isfinite().all()
    fixed = {"source_tokens", "cached_source", "past_tokens"}
    assert set(handler.varying_axes()) == set(batch) - fixed
