"""Texts in, sound out: chance, voices, lengths, batches, and what is refused."""

from __future__ import annotations

import io
import json
import re
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from handlers import tasks
from handlers.errors import BadRequest, LoadError, ModelError
from handlers.protocols.exchange import Exchange
from handlers.runtimes import Tensors
from handlers.tasks.speech_synthesis import BEGINNING, SpeechSynthesis
from tests.support.in_batches import answers_in_batches, ask

HOP, RATE = 10, 1000
TEXTS = ["a", "b", "abcab", "a long text about nothing at all", "ba" * 40]
DRAWN: dict[str, Any] = {"noise_size": 4, "voices": ["ada", "bob"]}


class Speaker:
    """Speaks as many frames for a token as chance says, louder or softer by the frame's noise."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int]] = []

    def __call__(self, inputs: Tensors) -> Tensors:
        noise, mask = inputs["noise"], inputs["attention_mask"]
        self.rows.append((noise.shape[0], noise.shape[1]))
        lasts = (1 + inputs["duration_noise"].abs().sum(1)) / inputs["speaking_rate"][:, None]
        ends = (lasts.ceil() * mask).cumsum(1)
        at = torch.arange(noise.shape[1])
        token = (at[None, :, None] >= ends[:, None]).sum(2).clamp(max=mask.shape[1] - 1)
        frame = torch.tanh(noise.mean(2) + inputs["input_ids"].gather(1, token) / 9)
        frame = frame * (at < ends[:, -1:]) * (1 - inputs["speaker"][:, None] / 4)
        wave = frame.unsqueeze(2).expand(-1, -1, HOP).flatten(1)
        return {"waveform": wave, "lengths": ends[:, -1].long() * HOP}


def plain(inputs: Tensors) -> Tensors:
    """Ten samples for each token."""
    sound = (inputs["input_ids"] * inputs["attention_mask"] / 40).unsqueeze(2).expand(-1, -1, HOP)
    return {"wave": sound.flatten(1), "ends": inputs["attention_mask"].sum(1) * HOP}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("archive")
    letters = {letter: number for number, letter in enumerate("_ abcdefghijklmnopqrstuvwxyz")}
    tokenizer = Tokenizer(models.WordLevel(letters, "_"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("[^.]"), "isolated")
    tokenizer.normalizer = normalizers.Replace(".", "")
    tokenizer.save(str(made / "tokenizer.json"))
    return made


def configured(folder: Path, runtime: Any = None, **section: Any) -> SpeechSynthesis:
    handler: SpeechSynthesis = tasks.find("speech_synthesis")()
    section = {"task": "speech_synthesis", "sampling_rate": RATE, **section}
    handler.configure(section, folder)
    handler.use(runtime or (Speaker() if handler.config.noise_size else plain), batch_size=4)
    return handler


def spoken(handler: SpeechSynthesis, texts: list[str], limit: int = 4, **options: Any) -> list[Any]:
    asked = handler.Options(**options)
    samples: list[Any] = [handler.decode(each, asked) for each in texts]
    return answers_in_batches(handler, samples, limit=limit)


@pytest.mark.parametrize("section", [DRAWN, {}])
def test_together_each_sounds_as_alone(folder: Path, section: dict[str, Any]) -> None:
    handler = configured(folder, **{**section, "blank_token": "_"})
    alone = [spoken(handler, [each])[0] for each in TEXTS]
    assert spoken(handler, TEXTS) == alone
    assert spoken(handler, TEXTS, limit=1) == alone
    assert len({len(each["samples"]) for each in alone}) > 3 - (not section)


def test_a_seed_is_one_way_to_speak(folder: Path) -> None:
    handler = configured(folder, **DRAWN)
    first, again = (spoken(handler, TEXTS, seed=7) for _ in range(2))
    assert first == again
    other = spoken(handler, TEXTS, seed=8)
    assert all(one["samples"] != two["samples"] for one, two in zip(first, other, strict=True))
    calm = [spoken(handler, TEXTS, seed=s, noise_scale=0, noise_scale_duration=0) for s in (7, 8)]
    assert calm[0] == calm[1]


def test_what_is_made_first_is_the_beginning_of_the_whole(folder: Path) -> None:
    model = Speaker()
    handler = configured(folder, model, **DRAWN)
    (long,) = samples = [handler.decode(TEXTS[3], handler.default_options)]
    begun = handler.inference(handler.collate(samples))["waveform"][0]
    (whole,) = handler.answer(handler.inference(handler.collate([long])), samples)
    assert whole.samples[: BEGINNING * HOP] == pytest.approx(begun.tolist(), abs=1e-5)
    assert len(whole.samples) > len(begun)
    assert model.rows[-1][1] % 16 == 0  # few shapes
    model.rows.clear()
    spoken(handler, ["a"])
    assert model.rows == [(1, BEGINNING)]  # once is enough for what is short


def test_texts_that_are_spoken_together_last_no_longer_than_one_may(folder: Path) -> None:
    model = Speaker()
    handler = configured(folder, model, **DRAWN, max_seconds=1.0)
    spoken(handler, ["b" * 20] * 4, noise_scale_duration=1)
    most = 1.0 * RATE / HOP + 16
    later = [rows * frames for rows, frames in model.rows if frames != BEGINNING]
    assert later
    assert max(later) <= most


def test_voices_and_rates(folder: Path) -> None:
    handler = configured(folder, **DRAWN)
    (ada,), (bob,) = (spoken(handler, ["abc"], voice=each) for each in ("ada", "bob"))
    assert spoken(handler, ["abc"]) == [ada]
    assert bob["samples"] == pytest.approx([0.75 * each for each in ada["samples"]], abs=1e-4)
    slow, fast = (
        spoken(handler, TEXTS[3:4], speaking_rate=each)[0]["seconds"] for each in (0.5, 4)
    )
    assert slow > 2 * fast
    with pytest.raises(BadRequest, match=r"'eve' is not allowed in 'voice'.*ada"):
        spoken(handler, ["abc"], voice="eve")


def test_a_model_without_chance_has_no_options_for_it(folder: Path) -> None:
    handler = configured(folder)
    body = json.dumps({"data": "abc", "parameters": {"seed": 1}}).encode()
    exchange = Exchange({"body": body}, {"body": "application/json"})
    handler.answer_all([exchange])
    assert exchange.status == 422
    with pytest.raises(LoadError, match="'defaults' has 'seed'"):
        configured(folder, defaults={"seed": 1})
    assert spoken(configured(folder, defaults={"voice": "default"}), ["abc"])[0]["seconds"] == 0.03


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"defaults": {"stream": True}}, "can't have 'stream'"),
        ({"blank_token": "?"}, "'blank_token' '\\?' is not in the tokenizer"),
        ({"voices": []}, "'voices' must be names"),
        ({"voices": ["ada", "ada"]}, "'voices' must be names"),
        ({"defaults": {"voice": "eve"}}, "'eve' is not allowed in 'voice'"),
    ],
)
def test_settings_that_can_not_be_are_refused(
    folder: Path, section: dict[str, Any], said: str
) -> None:
    with pytest.raises((LoadError, BadRequest), match=said):
        configured(folder, **section)


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ("...", 422, "nothing in the text that this model can speak"),
        ("a" * 31, 413, "31 tokens; at most 30 are allowed"),
        ("a" * 25, 413, r"spoken for 0\.25 s; at most 0\.2 s are allowed"),
        ("a" * 101, 413, "101 characters"),
    ],
)
def test_what_is_too_much_is_refused_and_its_neighbours_are_not(
    folder: Path, text: str, status: int, said: str
) -> None:
    handler = configured(folder, max_tokens=30, max_seconds=0.2, max_characters=100)
    (_, one), (code, refused), (_, other) = ask(handler, ["abc", text, "cab"])
    assert code == status
    assert refused["error"]
    assert re.search(said, refused["error"])
    assert one["seconds"] == other["seconds"] == 0.03


@pytest.mark.parametrize(
    "outputs",
    [
        {"waveform": torch.zeros(1, 5)},
        {"waveform": torch.zeros(1, 5, 2), "lengths": torch.ones(1)},
        {"waveform": torch.zeros(1, 5), "lengths": torch.ones(3)},
        {"waveform": torch.full((1, 5), torch.nan), "lengths": torch.ones(1)},
    ],
)
def test_a_model_that_answers_something_else_is_told_so(folder: Path, outputs: Any) -> None:
    handler = configured(folder, lambda inputs: outputs)
    sample = handler.decode("abc", handler.default_options)
    with pytest.raises(ModelError):
        handler.answer(handler.inference(handler.collate([sample])), [sample])


@pytest.mark.parametrize(
    ("accept", "sound"),
    [("*/*", True), ("audio/*", True), ("audio/wav", True), ("application/json, */*", False),
     ("application/json", False), ("", False)],
)  # fmt: skip
def test_who_takes_anything_gets_a_file_that_plays(folder: Path, accept: str, sound: bool) -> None:
    handler = configured(folder)
    exchange = Exchange({"body": b"abc"}, {"body": "text/plain"}, accept=accept)
    handler.answer_all([exchange])
    assert exchange.status == 200
    assert exchange.body
    if not sound:
        assert json.loads(exchange.body)["sampling_rate"] == RATE
        return
    assert exchange.media_type == "audio/wav"
    with wave.open(io.BytesIO(exchange.body)) as opened:
        assert (opened.getframerate(), opened.getnframes()) == (RATE, 30)


def test_protocols_of_several_texts_get_json(folder: Path) -> None:
    handler = configured(folder)
    v1 = json.dumps({"instances": ["ab", "abc"]}).encode()
    data = {"name": "text", "shape": [2], "datatype": "BYTES", "data": ["ab", "abc"]}
    v2 = json.dumps({"inputs": [data]}).encode()
    exchanges = [
        Exchange({"body": each}, {"body": "application/json"}, accept="*/*") for each in (v1, v2)
    ]
    handler.answer_all(exchanges)
    one, other = (json.loads(each.body or b"") for each in exchanges)
    outputs = {each["name"]: each for each in other["outputs"]}
    assert outputs["counts"]["data"] == [20, 30]
    assert outputs["samples"]["shape"] == [50]
    whole = [sample for each in one["predictions"] for sample in each["samples"]]
    np.testing.assert_allclose(outputs["samples"]["data"], whole, atol=1e-6)
