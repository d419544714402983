"""A recording in, labels out: what is heard of it, and that neighbours change nothing."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from handlers import tasks
from handlers.errors import LoadError, ModelError
from handlers.protocols import writing
from handlers.protocols.parsed_request import ParsedRequest
from handlers.runtimes.eager import ModuleRuntime
from handlers.tasks.audio_classification import AudioClassification, AudioLabels
from handlers.tasks.audio_classification import AudioClassificationOptions as Options
from tests.support.answers import plain
from tests.support.audio import encode, recording, wave
from tests.support.in_batches import answers_in_batches

RATE = 8000
NAMES = ["music", "speech", "rain"]
SECTION = {"task": "audio_classification", "sample_rate": RATE, "labels": "labels.json"}


class OfSamples(nn.Module):
    """The power of what counts, in float64, and how long it is."""

    def forward(self, waveform: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        if lengths is None:
            lengths = torch.full((len(waveform),), waveform.shape[1])
        within = torch.arange(waveform.shape[1]) < lengths[:, None]
        power = (waveform.double() ** 2 * within).sum(dim=1) / lengths
        return torch.stack([power * 9, lengths / 9000, power - power], dim=1).float()


class OfSpectra(nn.Module):
    def forward(self, spectrum: torch.Tensor) -> torch.Tensor:
        return torch.stack([spectrum.mean(dim=(1, 2)), spectrum[:, 0, 0], spectrum[:, -1, 0]], 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("archive")
    (made / "labels.json").write_text(json.dumps(NAMES))
    return made


def configured(folder: Path, **section: Any) -> AudioClassification:
    handler: AudioClassification = tasks.find("audio_classification")()
    handler.configure({**SECTION, **section}, folder)
    module = OfSamples() if handler.config.spectrum == "none" else OfSpectra()
    handler.use(ModuleRuntime(module.eval(), torch.device("cpu")), batch_size=8)
    return handler


WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "lengths": {"lengths": True},
    "fixed": {"fixed_seconds": 0.5},
    "fixed with lengths": {"fixed_seconds": 0.5, "lengths": True},
    "kaldi": {"spectrum": "kaldi", "frames": 30, "bands": 20, "mean": -4.0, "std": 9.0},
    "whisper": {"spectrum": "whisper", "fixed_seconds": 0.5, "bands": 20},
}


@pytest.mark.parametrize("way", WAYS)
def test_in_company_each_recording_is_answered_as_alone(folder: Path, way: str) -> None:
    handler = configured(folder, **WAYS[way])
    jobs = [recording(random.Random(seed)) for seed in range(16)] + [wave(n) for n in (1, 4000)]
    samples = [handler.decode(job, Options(top_k=3)) for job in jobs]
    alone = [answers_in_batches(handler, [each])[0] for each in samples]
    assert len({round(answer["scores"]["music"], 4) for answer in alone}) > 3

    @settings(max_examples=8)
    @given(st.lists(st.sampled_from(range(len(jobs))), min_size=1, max_size=10))
    def check(chosen: list[int]) -> None:
        together = answers_in_batches(handler, [samples[index] for index in chosen])
        for index, answer in zip(chosen, together, strict=True):
            wanted = {**alone[index], "scores": pytest.approx(alone[index]["scores"], abs=1e-5)}
            assert answer == wanted

    check()


@given(st.lists(st.integers(1, 5 * RATE), min_size=1, max_size=4))
def test_padding_makes_few_widths_and_is_no_part_of_an_answer(
    folder: Path, lengths: list[int]
) -> None:
    padding, exact = configured(folder, lengths=True), configured(folder)
    samples = [padding.decode(wave(n), Options(top_k=3)) for n in lengths]
    batch = padding.collate(samples)
    width, longest = batch["waveform"].shape[1], max(lengths)
    assert longest <= width < longest * 17 / 16 + 1
    odd = width >> max(0, width.bit_length() - 6)  # 16 widths from one power of 2 to the next
    assert width == odd << max(0, width.bit_length() - 6)
    assert batch["lengths"].tolist() == lengths
    answers = padding.answer(padding.inference(batch), samples)
    for n, answer in zip(lengths, answers, strict=True):
        alone = [exact.decode(wave(n), Options(top_k=3))]
        assert exact.collate(alone)["waveform"].shape == (1, n)
        wanted = exact.answer(exact.inference(exact.collate(alone)), alone)[0].to_json()["scores"]
        assert answer.to_json()["scores"] == pytest.approx(wanted, abs=1e-5)


def test_a_fixed_length_is_cut_or_filled_with_silence(folder: Path) -> None:
    handler = configured(folder, **WAYS["fixed with lengths"], normalise=True)
    short, long = (handler.decode(wave(n) * 0.1 + 0.2, Options()) for n in (3000, 5000))
    for sample, heard in ((short, 3000), (long, 4000)):
        assert sample.tensors["waveform"].shape == (1, 4000)
        assert sample.tensors["lengths"].tolist() == [heard]
        kept = sample.tensors["waveform"][0, :heard]
        assert kept.mean() == pytest.approx(0, abs=1e-4)  # of what is heard alone
        assert kept.var() == pytest.approx(1, abs=0.01)
    assert not short.tensors["waveform"][0, 3000:].any()
    assert (short.meta.truncated, long.meta.truncated) == (False, True)
    assert handler.varying_axes() == {}
    assert configured(folder).varying_axes() == {"waveform": (1,)}


def test_spectra_are_cut_or_filled_before_they_are_scaled(folder: Path) -> None:
    handler = configured(folder, **WAYS["kaldi"])
    for samples, truncated in ((400, False), (400 + 160 * 29, False), (400 + 160 * 30, True)):
        sample = handler.decode(wave(samples), Options())
        assert sample.tensors["spectrum"].shape == (30, 20)
        assert sample.meta.truncated is truncated
    padding = handler.decode(wave(400), Options()).tensors["spectrum"][1:]
    assert torch.allclose(padding, torch.tensor(4.0 / 9.0))


def test_scores_are_of_one_label_or_of_each(folder: Path) -> None:
    logits = torch.tensor([[1.0, 3.0, -1.0]])
    for activation, wanted in (
        ("softmax", logits.softmax(1)), ("sigmoid", logits.sigmoid()),
    ):  # fmt: skip
        handler = configured(folder, activation=activation)
        sample = handler.decode(wave(RATE), Options(top_k=2))
        (answer,) = handler.answer({"x": logits}, [sample])
        assert answer.labels == ["speech", "music"]
        assert answer.scores == pytest.approx([wanted[0, 1].item(), wanted[0, 0].item()])


def test_answers_in_every_protocol(folder: Path) -> None:
    handler, sounds = configured(folder), [wave(9000, 1), wave(700, 2)]
    samples = [handler.decode(sound, Options()) for sound in sounds]
    answers = [
        handler.answer(handler.inference(handler.collate([each])), [each])[0] for each in samples
    ]

    def written(protocol: Any) -> Any:
        request = ParsedRequest(protocol, sounds)
        names = {"model_name": "m", "model_version": "1"}
        return json.loads(writing.write(request, answers, **names).body)

    first = written("raw")
    assert set(first) == set(plain(AudioLabels.schema())["properties"])
    assert set(first["scores"]) == set(NAMES)
    assert (first["seconds"], first["truncated"]) == (1.125, False)
    assert written("v1")["predictions"][0] == first
    assert [each["name"] for each in written("v2")["outputs"]] == [
        "labels", "scores", "seconds", "truncated",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("logits", "words"),
    [
        (torch.zeros(1, 5, 3), r"answers \(N, classes\)"),
        (torch.zeros(1, 4), "3 labels for 4 classes"),
        (torch.full((1, 3), torch.nan), "not finite"),
    ],
    ids=range(3),
)
def test_a_model_that_is_no_classifier_is_told(
    folder: Path, logits: torch.Tensor, words: str
) -> None:
    handler = configured(folder)
    with pytest.raises(ModelError, match=words):
        handler.answer({"x": logits}, [handler.decode(wave(RATE), Options())])


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"frames": 9}, "'frames', 'mean' and 'std' are of spectra"),
        ({"spectrum": "kaldi", "frames": 9, "lengths": True}, "'lengths' are of samples"),
        ({"spectrum": "whisper"}, "'whisper' spectra need 'fixed_seconds'"),
        ({"spectrum": "kaldi"}, "'kaldi' spectra need 'frames'"),
        ({"std": 0}, "must be at least"),
        ({"spectrum": "mfcc"}, "must be one of 'none', 'kaldi', 'whisper'"),
        ({"labels": "names.json"}, "can't be read"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    folder: Path, section: dict[str, Any], words: str
) -> None:
    with pytest.raises(LoadError, match=words):
        configured(folder, **section)


def test_stereo_of_another_rate_is_mixed_and_resampled(folder: Path) -> None:
    handler = configured(folder)
    sound = np.sin(np.arange(16000) / 20).astype(np.float32)
    stereo = encode(np.stack([sound, np.zeros_like(sound)], axis=1), 16000, "WAV", "FLOAT")
    sample = handler.decode(stereo, Options())
    assert sample.tensors["waveform"].shape == (1, 8000)
    middle = sample.tensors["waveform"][0, 100:-100]
    assert torch.allclose(middle, torch.from_numpy(sound[::2] / 2)[100:-100], atol=1e-3)
