"""Folders of transformers' audio classifiers: built with a short recipe, they answer as it does."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from handlers import tasks
from handlers.runtimes.eager import ModuleRuntime
from handlers.tasks.audio_classification import AudioClassification
from marsmith.cache import Cache
from marsmith.errors import BuildError, GateError
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.pipeline.original import Prepared, prepare
from marsmith.recipe import reading
from marsmith.sources.heads import audio_classification as head
from marsmith.sources.huggingface import HuggingFace
from tests.support.audio import encode, wave
from tests.support.audio_folders import FAMILIES, RATE, recordings, save, waves
from tests.support.in_batches import answers_in_batches
from tests.support.vision_folders import without_transformers

TOLERANCE = 1e-4
ENGINES = ["torchscript:fp32", "onnx:fp32", "openvino:fp32"]
# transformers' WavLM gives torch masks of two types.
MISMATCHED = pytest.mark.filterwarnings("ignore:Support for mismatched")


def answers_of_transformers(folder: Path) -> list[dict[str, float]]:
    """Label to score; of two equal labels, the second as we call it."""
    from transformers import pipeline

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classify: Any = pipeline("audio-classification", model=str(folder))
        classify.model.config.id2label[4] = "bell (4)"
        found = [classify(each, top_k=5) for each in waves()]
    return [{one["label"]: one["score"] for one in each} for each in found]


def check(answers: list[dict[str, Any]], folder: Path) -> None:
    wanted = answers_of_transformers(folder)
    ranges = [max(x[name] for x in wanted) - min(x[name] for x in wanted) for name in wanted[0]]
    assert max(ranges) > 0.1  # another preparation would be noticed
    for answer, one in zip(answers, wanted, strict=True):
        assert answer["scores"] == pytest.approx(one, abs=TOLERANCE)


def handler_of(folder: Path, work: Path) -> AudioClassification:
    source = HuggingFace(huggingface=folder, head="audio_classification")
    module = source.load(Cache(work), lambda line: None)
    (out := work / "out").mkdir()
    handler: AudioClassification = tasks.find("audio_classification")()
    handler.configure({"task": "audio_classification", **source.bring(module, out, {})}, out)
    handler.use(ModuleRuntime(module, torch.device("cpu")), batch_size=8)
    return handler


@MISMATCHED
@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_answers_as_transformers_does(tmp_path: Path, family: str) -> None:
    folder = save(tmp_path / "model", family)
    handler = handler_of(folder, tmp_path)
    samples = [handler.decode(each, handler.default_options) for each in recordings()]
    check(answers_in_batches(handler, samples), folder)
    check(answers_in_batches(handler, samples, limit=1), folder)
    assert handler.config.lengths == (family in ("wav2vec2", "hubert", "wavlm"))


@pytest.mark.slow
@MISMATCHED
@pytest.mark.parametrize("family", FAMILIES)
def test_its_archive_does_too(tmp_path: Path, family: str) -> None:
    folder = save(tmp_path / "model", family)
    recipe = tmp_path / "recipe.yaml"
    said = f"name: x\ntask: audio_classification\nsource: {{huggingface: {folder}}}\n"
    recipe.write_text(said + f"runtime: auto\ncandidates: {json.dumps(ENGINES)}\n")
    report = build(reading.load(recipe), tmp_path / "store")
    assert report is not None
    assert report.ladder[0].name == "untouched"
    alone = without_transformers(tmp_path)
    with Harness(tmp_path / "store" / "x.mar", batch_size=8, env=alone) as harness:
        requests = [Request.raw(body) for body in recordings()]
        found = harness.predict(requests[:8]) + harness.predict(requests[8:])
    assert all(response.status == 200 for response in found), [each.body for each in found]
    check([response.json() for response in found], folder)


@pytest.mark.slow
def test_a_worker_does_not_keep_something_for_every_shape_that_it_has_seen(tmp_path: Path) -> None:
    folder = save(tmp_path / "model", "wav2vec2")
    recipe = {
        "name": "x", "task": "audio_classification", "source": {"huggingface": str(folder)},
        "runtime": "torchscript",
    }  # fmt: skip
    build(recipe, tmp_path / "store")
    told = {"ONEDNN_VERBOSE": "profile_create"}  # a line for each primitive, made or found again
    with Harness(tmp_path / "store" / "x.mar", batch_size=8, env=told) as harness:

        def made(samples: int, count: int = 1) -> bool:
            harness.take_log()
            body = encode(wave(samples), RATE)
            harness.predict([Request.raw(body) for _ in range(count)])
            return any("create:cache_miss" in line for line in harness.log)

        assert made(3000)
        assert not made(3000)
        for step in range(60):  # some 600 primitives
            made(5000 + 1000 * (step // 4), 1 + step % 4)
        assert made(3000)


@pytest.mark.parametrize(
    ("said", "activation"),
    [({}, "softmax"), ({"problem_type": "multi_label_classification"}, "sigmoid")],
)
def test_scores_are_made_as_the_pipeline_makes_them(
    tmp_path: Path, said: Mapping[str, Any], activation: str
) -> None:
    folder = save(tmp_path / "model", "ast", said)
    handler = handler_of(folder, tmp_path)
    assert handler.config.activation == activation
    samples = [handler.decode(each, handler.default_options) for each in recordings()]
    check(answers_in_batches(handler, samples), folder)


def test_how_much_of_a_recording_is_heard_is_said(tmp_path: Path) -> None:
    for family, heard in (("ast", 0.96), ("whisper", 2.0)):
        handler = handler_of(save(tmp_path / family, family), tmp_path / family)
        assert f"the first {heard:g} s" in str(handler.describe_input()["heard"])
        samples = [
            handler.decode(wave(round(seconds * RATE)), handler.default_options)
            for seconds in (heard - 0.1, heard + 0.1)
        ]
        answers = answers_in_batches(handler, samples)
        assert [each["truncated"] for each in answers] == [False, True]
        assert answers[1]["seconds"] == pytest.approx(heard + 0.1, abs=1e-3)
    handler = handler_of(save(tmp_path / "model", "wav2vec2"), tmp_path)
    assert handler.describe_input()["heard"] == "all of a recording"


# -- What is wrong is refused by the first rung ---------------------------------------------------


def prepared(folder: Path, work: Path, **more: object) -> Prepared:
    name = "tests.support.audio_folders:recordings"
    recipe = {
        "name": "m", "task": "audio_classification", "source": {"huggingface": str(folder)},
        "evaluation": {"data": name}, **more,
    }  # fmt: skip
    (work / "work").mkdir()
    return prepare(reading.load(recipe), work, work / "work", lambda line: None)


whole = head._prepares


def other(**changes: object) -> Callable[..., dict[str, object]]:
    return lambda sound, folder: {**whole(sound, folder), **changes}


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("wav2vec2", {"normalise": False}),
        ("ast", {"mean": -4.0}),
        ("ast", {"std": 4.5689974}),
        ("ast", {"frames": 90}),
        ("whisper", {"fixed_seconds": 1.99}),
    ],
    ids=str,
)
def test_a_wrong_setting_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, changes: dict[str, object]
) -> None:
    folder = save(tmp_path / "model", family)
    brings = head.bring

    def wrong(module: torch.nn.Module, folder: Path, out: Path) -> Mapping[str, object]:
        return {**brings(module, folder, out), **changes}

    monkeypatch.setattr(head, "bring", wrong)
    monkeypatch.setattr(head, "_prepares", other(**changes))
    with pytest.raises((GateError, BuildError)):
        prepared(folder, tmp_path)
