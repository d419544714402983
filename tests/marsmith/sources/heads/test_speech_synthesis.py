"""Folders of VITS: they speak sample by sample as transformers does with the same seed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from handlers import tasks
from handlers.runtimes.eager import ModuleRuntime
from handlers.tasks.speech_synthesis import SpeechSynthesis
from marsmith.cache import Cache
from marsmith.errors import GateError, UnsupportedError
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.pipeline.original import prepare
from marsmith.recipe import reading
from marsmith.sources.heads import _characters
from marsmith.sources.heads import speech_synthesis as head
from marsmith.sources.huggingface import HuggingFace
from tests.support import speaking_folders
from tests.support.in_batches import answers_in_batches
from tests.support.vision_folders import without_transformers

TOLERANCE = 1e-4
ENGINES = ["torchscript:fp32", "onnx:fp32", "openvino:fp32"]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"noise_scale": 0.0, "noise_scale_duration": 0.0},
    {"speaking_rate": 1.7, "noise_scale": 0.3, "noise_scale_duration": 1.2},
]
TEXTS = [body.decode() for body in speaking_folders.texts()]


def slow(*values: Any) -> Any:
    return pytest.param(*values, marks=pytest.mark.slow)


def handler_of(folder: Path, work: Path) -> SpeechSynthesis:
    source = HuggingFace(huggingface=folder, head="speech_synthesis")
    module = source.load(Cache(work), lambda line: None)
    (out := work / "out").mkdir()
    handler: SpeechSynthesis = tasks.find("speech_synthesis")()
    handler.configure({"task": "speech_synthesis", **source.bring(module, out, {})}, out)
    handler.use(ModuleRuntime(module, torch.device("cpu")), batch_size=8)
    return handler


def spoken_by_transformers(folder: Path, seed: int, **options: Any) -> list[list[float]]:
    from transformers import AutoTokenizer, VitsModel, set_seed

    model, tokenizer = VitsModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    speaker = {"speaker_id": int(options.pop("voice"))} if "voice" in options else {}
    for name, value in options.items():
        setattr(model, name, value)
    found = []
    with torch.random.fork_rng([]), torch.inference_mode():
        for text in TEXTS:
            tokens = tokenizer(text, return_tensors="pt")
            set_seed(seed)
            found.append(model(**tokens, **speaker).waveform[0].tolist())
    return found


@pytest.mark.slow
@pytest.mark.parametrize("kind", speaking_folders.KINDS)
def test_a_folder_speaks_as_transformers_does(tmp_path: Path, kind: str) -> None:
    folder = speaking_folders.write(tmp_path / "model", kind)
    handler = handler_of(folder, tmp_path)
    voice = {"voice": "2"} if "speakers" in kind else {}
    for options in OPTIONS:
        asked = {**options, **voice}
        wanted = spoken_by_transformers(folder, 555, **asked)
        chosen = handler.Options(**{**vars(handler.default_options), **asked, "seed": 555})
        samples: list[Any] = [handler.decode(text, chosen) for text in TEXTS]
        for limit in (1, 8):
            found = answers_in_batches(handler, samples, limit)
            for said, right in zip(found, wanted, strict=True):
                assert said["samples"] == pytest.approx(right, abs=TOLERANCE)
                assert max(map(abs, right)) > 0.1
        assert len({len(each) for each in wanted}) > 4


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["stochastic", "sure speakers"])
def test_its_archive_does_too(tmp_path: Path, kind: str) -> None:
    folder = speaking_folders.write(tmp_path / "model", kind)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"name: x\ntask: speech_synthesis\nsource: {{huggingface: {folder}}}\n"
        f"runtime: auto\ncandidates: {json.dumps(ENGINES)}\n"
    )
    report = build(reading.load(recipe), tmp_path / "store")
    assert report is not None
    assert report.ladder[0].name == "untouched"
    wanted = spoken_by_transformers(folder, 0, **({"voice": "0"} if "speakers" in kind else {}))
    alone = without_transformers(tmp_path)
    with Harness(tmp_path / "store" / "x.mar", batch_size=8, env=alone) as harness:
        found = harness.predict([Request.raw(each.encode(), "text/plain") for each in TEXTS[:8]])
    for response, right in zip(found, wanted, strict=False):
        assert response.status == 200, response.body
        said: Any = response.json()
        assert said["samples"] == pytest.approx(right, abs=TOLERANCE)


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ({"defaults": {"seed": 9, "speaking_rate": 2.0}}, {}),
        slow({}, {}),
        slow({}, {"duration_noise": False}),
        slow({}, {"blank_token": ""}),
    ],
)
def test_what_is_wrong_between_text_and_model_is_refused_by_the_first_rung(
    tmp_path: Path, said: dict[str, Any], wrong: Mapping[str, object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    whole = head.bring
    monkeypatch.setattr(head, "bring", lambda *given: {**whole(*given), **wrong})
    recipe = {
        "name": "m", "task": "speech_synthesis", "handler": said,
        "source": {"huggingface": str(speaking_folders.write(tmp_path / "model"))},
        "evaluation": {"data": "tests.support.speaking_folders:texts"},
    }  # fmt: skip
    (tmp_path / "work").mkdir()

    def build_it() -> Any:
        loaded = reading.load(recipe)
        return prepare(loaded, tmp_path / "work", tmp_path / "work", lambda line: None)

    if wrong:
        with pytest.raises(GateError, match="the model's own code says"):
            build_it()
    else:
        assert build_it().rungs[0].name == "untouched"


def tokenizer_of(folder: Path, **said: Any) -> Any:
    import transformers

    speaking_folders.write_tokenizer(folder, **said)
    return transformers.VitsTokenizer.from_pretrained(folder)


@pytest.mark.parametrize(
    ("tokenizer", "said"),
    [({"phonemize": True, "normalize": False}, "phonemizer"), ({"is_uroman": True}, "uroman")],
)
def test_a_tokenizer_that_needs_another_program_is_refused(
    tmp_path: Path, tokenizer: dict[str, Any], said: str
) -> None:
    with pytest.raises(UnsupportedError, match=f"{said}, which does not travel") as caught:
        _characters.bring(tokenizer_of(tmp_path, **tokenizer), tmp_path, tmp_path)
    assert "save the tokenizer beside the model with" in str(caught.value.hint)


@pytest.mark.parametrize(
    "tokenizer",
    [{}, {"add_blank": False}, {"normalize": False}, {"language": "ron"},
     {"normalize": False, "add_blank": False, "unk_token": "_"}],
)  # fmt: skip
def test_texts_become_the_tokens_that_transformers_makes(
    tmp_path: Path, tokenizer: dict[str, Any]
) -> None:
    theirs = tokenizer_of(tmp_path / "model", **tokenizer)
    brought = _characters.bring(theirs, tmp_path, tmp_path)
    handler: SpeechSynthesis = tasks.find("speech_synthesis")()
    handler.configure({"task": "speech_synthesis", **brought}, tmp_path)
    for text in [*TEXTS, "Größe  of\tTHINGS - it's 'so'", " x "]:
        wanted = theirs(text)["input_ids"]
        if max(wanted) < len(speaking_folders.LETTERS):
            assert handler.decode(text, handler.default_options).meta.ids.tolist() == wanted


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    import transformers

    sizes = {**speaking_folders.SIZES, "upsample_kernel_sizes": [15, 8]}
    model = transformers.VitsModel(transformers.VitsConfig(**sizes))
    with pytest.raises(UnsupportedError, match="must be even"):
        head.wrap(model, tmp_path)
