"""Folders of wav2vec2-like models: built with a short recipe, they answer as transformers does."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from handlers import tasks
from handlers.runtimes.eager import ModuleRuntime
from handlers.tasks.speech_recognition import SpeechRecognition
from marsmith.cache import Cache
from marsmith.errors import BuildError, UnsupportedError
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.recipe import reading
from marsmith.sources.heads.speech_recognition import bring, wrap
from marsmith.sources.huggingface import HuggingFace
from tests.support.audio import encode, wave
from tests.support.in_batches import answers_in_batches

TOKENS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAONIHSRDLUMWCFGYPBVK'XJQZ"]
LAYERS: dict[str, Any] = {
    "conv_dim": (16, 16, 16),
    "conv_stride": (5, 4, 4),
    "conv_kernel": (10, 4, 4),
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
LENGTHS = [400, 8000, 16000, 16000, 20001, 33333, 7000]


def saved(folder: Path, kind: str = "Wav2Vec2", norm: str = "layer", **said: object) -> Path:
    """A folder with random weights that are far from each other, as transformers saves it."""
    import transformers
    from transformers import Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2Processor

    torch.manual_seed(0)
    folder.mkdir(exist_ok=True)
    settings = {"vocab_size": 32, "intermediate_size": 37, "initializer_range": 0.5}
    config = getattr(transformers, f"{kind}Config")(
        **settings, **SMALL, **LAYERS, feat_extract_norm=norm, do_stable_layer_norm=norm == "layer"
    )
    getattr(transformers, f"{kind}ForCTC")(config).save_pretrained(folder)
    vocabulary = folder / "vocab.json"
    vocabulary.write_text(json.dumps({token: number for number, token in enumerate(TOKENS)}))
    tokenizer = Wav2Vec2CTCTokenizer(str(vocabulary), **said)
    sound = Wav2Vec2FeatureExtractor(return_attention_mask=norm == "layer")
    Wav2Vec2Processor(sound, tokenizer).save_pretrained(folder)
    return folder


def answers_of_transformers(folder: Path, waves: list[Any]) -> list[dict[str, Any]]:
    from transformers import pipeline

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        listen = pipeline("automatic-speech-recognition", model=str(folder))
        found: list[Any] = [
            listen({"raw": each, "sampling_rate": 16000}, return_timestamps="word")
            for each in waves
        ]
        return found


def check(answers: list[dict[str, Any]], folder: Path, waves: list[Any]) -> None:
    for answer, wanted in zip(answers, answers_of_transformers(folder, waves), strict=True):
        assert answer["text"] == wanted["text"]
        words = [(word["word"], word["start"], word["end"]) for word in answer["words"]]
        assert words == [
            (each["text"], *(pytest.approx(time, abs=1e-3) for time in each["timestamp"]))
            for each in wanted["chunks"]
        ]
    assert sum(len(answer["words"]) for answer in answers) >= len(answers)


@pytest.mark.parametrize("kind", ["Wav2Vec2", "Hubert"])
@pytest.mark.parametrize("norm", ["group", "layer"])
def test_a_folder_answers_as_transformers_does(tmp_path: Path, kind: str, norm: str) -> None:
    folder = saved(tmp_path / "model", kind, norm)
    source = HuggingFace(huggingface=folder, head="speech_recognition")
    module = source.load(Cache(tmp_path), lambda line: None)
    (out := tmp_path / "out").mkdir()
    handler: SpeechRecognition = tasks.find("speech_recognition")()
    handler.configure({"task": "speech_recognition", **source.bring(module, out, {})}, out)
    handler.use(ModuleRuntime(module, torch.device("cpu")), batch_size=8)
    waves = [wave(length, length) for length in LENGTHS]
    samples = [handler.decode(each, handler.default_options) for each in waves]
    check(answers_in_batches(handler, samples), folder, waves)


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("runtime", ["torchscript", "onnx", "openvino"])
def test_its_archive_does_too(tmp_path: Path, norm: str, runtime: str) -> None:
    folder, recipe = saved(tmp_path / "model", norm=norm), tmp_path / "recipe.yaml"
    recipe.write_text(
        f"name: x\ntask: speech_recognition\nruntime: {runtime}\n"
        f"source: {{huggingface: {folder}}}\nserving: {{batch_size: 8}}\n"
    )
    build(reading.load(recipe), tmp_path / "store")
    waves = [wave(length, length) for length in LENGTHS]
    with Harness(tmp_path / "store" / "x.mar", batch_size=8) as harness:
        bodies = [encode(each, 16000, "WAV", "FLOAT") for each in waves]
        together = harness.predict([Request.raw(body) for body in bodies])
    assert all(response.status == 200 for response in together)
    check([response.json() for response in together], folder, waves)


def brought(folder: Path, out: Path) -> Mapping[str, object]:
    from transformers import AutoModelForCTC

    out.mkdir(exist_ok=True)
    return bring(wrap(AutoModelForCTC.from_pretrained(folder), folder), folder, out)


def test_what_comes_with_a_folder(tmp_path: Path) -> None:
    folder = saved(tmp_path / "model", do_lower_case=True)
    assert brought(folder, tmp_path / "out") == {
        "sample_rate": 16000,
        "normalise": True,
        "lengths": True,
        "stride": 80,
        "field": 85,
        "vocabulary": "vocabulary.json",
        "blank": "<pad>",
        "delimiter": "|",
    }
    names = json.loads((tmp_path / "out" / "vocabulary.json").read_text())
    assert names == [token.lower() for token in TOKENS]


def say(**changes: object) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return spoil


def without(*names: str) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return spoil


@pytest.mark.parametrize(
    ("spoil", "kind", "words"),
    [
        (without("vocab.json", "tokenizer_config.json"), BuildError, "AutoTokenizer"),
        (without("processor_config.json"), BuildError, "AutoFeatureExtractor"),
        (say(add_adapter=True), UnsupportedError, "adapter that joins frames"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_is_wrong_with_a_folder_is_said(
    tmp_path: Path, spoil: Callable[[Path], None], kind: type[BuildError], words: str
) -> None:
    folder = saved(tmp_path / "model")
    spoil(folder)
    with pytest.raises(kind, match=words):
        brought(folder, tmp_path / "out")


def test_silence_is_no_number_that_is_none(tmp_path: Path) -> None:
    folder = saved(tmp_path / "model")
    module = HuggingFace(huggingface=folder, head="speech_recognition").load(
        Cache(tmp_path), lambda line: None
    )
    with torch.inference_mode():
        logits = module(torch.zeros(2, 900), torch.tensor([900, 85]))
    assert np.isfinite(logits.numpy()).all()


@pytest.mark.parametrize("norm", ["layer", "group"])
def test_it_is_compared_with_what_transformers_makes_of_recordings(
    tmp_path: Path, norm: str
) -> None:
    import soundfile

    folder = saved(tmp_path / "model", norm=norm)
    source = HuggingFace(huggingface=folder, head="speech_recognition")
    instances = []
    for rate in (16000, 8000):
        file = io.BytesIO()
        soundfile.write(file, np.sin(np.arange(9000) / 9), rate, format="WAV")
        instances.append(file.getvalue())
    found = source.untouched(instances, {}, lambda line: None)
    assert found is not None
    assert found.outputs[1] is None  # of another rate: who resamples it decides
    module = source.load(Cache(tmp_path), lambda line: None)
    (out := tmp_path / "out").mkdir()
    handler = tasks.find("speech_recognition")()
    handler.configure({"task": "speech_recognition", **source.bring(module, out, {})}, out)
    handler.use(ModuleRuntime(module, torch.device("cpu")))
    batch = handler.collate([handler.decode(instances[0], handler.default_options)])
    (mine,) = handler.inference(batch).values()
    assert mine.shape[1] in handler.padded_sizes(batch)
    own = found.outputs[0]
    assert isinstance(own, tuple)
    assert torch.allclose(mine[:, : own[0].shape[1]], own[0], atol=1e-4)
