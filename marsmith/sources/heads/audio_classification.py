"""A classifier of recordings: wav2vec2 and its kin, AST, or Whisper's encoder."""

from __future__ import annotations

import importlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from handlers.protocols.base64_text import encoded
from marsmith.errors import UnsupportedError
from marsmith.recipe.sections import Untouched
from marsmith.sources.heads import _on_images, _on_samples

AUTO = "AutoModelForAudioClassification"

LABELS = "labels.json"
PREPARE = "bring a 'source.factory' whose module takes samples, and prepares them as yours does"


class OnSamples(torch.nn.Module):
    """A model from samples to logits; lengths say where recordings are padded.

    With lengths it takes the mean of the frames that count, which transformers' own code does in
    a way that can't be exported.

    Args:
        model: of transformers, "...ForSequenceClassification".
    """

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, waveform: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Turn samples, (N, S) float32, and lengths, (N,) int64, into logits, (N, classes)."""
        model: Any = self.model
        logits: torch.Tensor = (
            model(waveform).logits if lengths is None else self._padded(waveform, lengths)
        )
        return logits

    def _padded(self, waveform: torch.Tensor, lengths: torch.Tensor) -> Any:
        model: Any = self.model
        layers = model.config.use_weighted_layer_sum
        found = model.base_model(
            waveform,
            attention_mask=_on_samples.mask(waveform, lengths),
            output_hidden_states=layers,
        )
        states = found.last_hidden_state
        if layers:
            weights = torch.softmax(model.layer_weights, dim=-1).view(-1, 1, 1)
            states = (torch.stack(found.hidden_states, dim=1) * weights).sum(dim=1)
        states = model.projector(states)
        counts = model._get_feat_extract_output_lengths(lengths).unsqueeze(1)
        within = torch.arange(states.shape[1], device=states.device) < counts
        return model.classifier((states * within.unsqueeze(2)).sum(dim=1) / counts)


class OnSpectra(torch.nn.Module):
    """A model from spectra to logits.

    Args:
        model: of transformers.
        bands_first: whether it takes (N, bands, T), as Whisper does.
    """

    def __init__(self, model: torch.nn.Module, *, bands_first: bool) -> None:
        super().__init__()
        self.model, self.bands_first = model, bands_first

    def forward(self, spectrum: torch.Tensor) -> torch.Tensor:
        """Turn spectra, (N, T, bands) float32, into logits, (N, classes)."""
        spectrum = spectrum.transpose(1, 2) if self.bands_first else spectrum
        logits: torch.Tensor = self.model(spectrum).logits
        return logits


def wrap(model: torch.nn.Module, folder: Path) -> torch.nn.Module:
    """Wrap a model in what takes samples or spectra, as its feature extractor makes them.

    Raises:
        BuildError: the folder has no feature extractor.
        UnsupportedError: the model is a regression, or takes something else.
    """
    config: Any = model.config
    if config.problem_type == "regression":
        raise UnsupportedError(
            f"{folder.name} is a regression, whose numbers are no scores of labels",
            "serve it with a handler of your own: `marsmith new` writes one",
        )
    spectrum = _prepares(_on_samples.read(folder, "AutoFeatureExtractor"), folder)["spectrum"]
    if spectrum != "none":
        return OnSpectra(model, bands_first=spectrum == "whisper")
    _on_samples.check(model, folder)
    return OnSamples(model)


def _prepares(sound: Any, folder: Path) -> dict[str, object]:
    """How a feature extractor prepares recordings, as settings of the `handler:` section.

    Raises:
        UnsupportedError: it does what no setting says.
    """
    name, rate = type(sound).__name__, sound.sampling_rate
    if name == "Wav2Vec2FeatureExtractor":
        return {"spectrum": "none", "sample_rate": rate, "normalise": bool(sound.do_normalize)}
    if name == "ASTFeatureExtractor":
        scale = {"mean": sound.mean, "std": sound.std * 2} if sound.do_normalize else {}
        return {
            "spectrum": "kaldi", "sample_rate": rate, "bands": sound.num_mel_bins,
            "frames": sound.max_length, **scale,
        }  # fmt: skip
    if name == "WhisperFeatureExtractor":
        own = {"hop_length": 160, "n_fft": 400, "dither": 0.0, "padding_value": 0.0}
        for key, usual in own.items():
            if getattr(sound, key, usual) != usual:
                raise UnsupportedError(f"{folder.name}: {key!r} is not {usual:g}", PREPARE)
        return {
            "spectrum": "whisper", "sample_rate": rate, "bands": sound.feature_size,
            "fixed_seconds": float(sound.chunk_length),
        }  # fmt: skip
    raise UnsupportedError(f"{folder.name}: what {name} prepares is not known", PREPARE)


def untouched(
    folder: Path, instances: Sequence[object], handler: Mapping[str, object]
) -> Untouched:
    """What transformers makes of recordings that have the model's own rate, and one channel."""
    soundfile: Any = importlib.import_module("soundfile")
    transformers: Any = importlib.import_module("transformers")
    model = _on_samples.model_of(folder, AUTO)
    sound = _on_samples.read(folder, "AutoFeatureExtractor")
    model.config.id2label = dict(enumerate(_on_images.labels(model.config)))
    ask = transformers.pipeline("audio-classification", model=model, feature_extractor=sound)
    said = {"labels": LABELS, "activation": _activation(model.config)}
    names = all(handler.get(name, value) == value for name, value in said.items())
    as_the_folder = all(handler.get(k, v) == v for k, v in _prepares(sound, folder).items())
    outputs: list[tuple[torch.Tensor, ...] | None] = []
    answers: list[object] = []
    for each in instances:
        samples, rate = np.zeros((0, 2)), 0
        if not isinstance(each, (list, np.ndarray)):
            file = io.BytesIO(encoded(each, "a recording"))
            samples, rate = soundfile.read(file, dtype="float32")
        if rate != sound.sampling_rate or samples.ndim > 1 or not as_the_folder:
            outputs.append(None)
            answers.append(None)
            continue
        features = sound(samples, sampling_rate=rate, return_tensors="pt")
        with torch.inference_mode():
            outputs.append((model(**features).logits,))
        found = ask(samples, top_k=model.config.num_labels) if names else []
        answers.append({"scores": {one["label"]: one["score"] for one in found}} if found else None)
    return Untouched(answers, outputs)


def bring(module: torch.nn.Module, folder: Path, out: Path) -> Mapping[str, object]:
    """Bring the labels of config.json; say how recordings are prepared and logits become scores."""
    config: Any = module.get_submodule("model").config
    (out / LABELS).write_text(json.dumps(_on_images.labels(config)), "utf-8")
    prepares = _prepares(_on_samples.read(folder, "AutoFeatureExtractor"), folder)
    found = {**prepares, "labels": LABELS, "activation": _activation(config)}
    if not isinstance(module, OnSamples):
        return found
    field = _on_samples.frames(config)[1]
    return {**found, "field": field, "lengths": _pads(module, config, field)}


def _pads(module: torch.nn.Module, config: Any, field: int) -> bool:
    """Whether a short recording is answered beside a long one as alone, which is tried."""
    if not _on_samples.masks(config):
        return False
    short, long = 20 * field, 51 * field
    waveform = torch.sin(torch.arange(long) * torch.arange(1, 3)[:, None] / 7)
    waveform[0, short:] = 0
    with torch.inference_mode():
        together = module(waveform, torch.tensor([short, long]))[:1]
        alone = module(waveform[:1, :short])
    return torch.allclose(together, alone, rtol=1e-4, atol=1e-4)


def _activation(config: Any) -> str:
    """The activation that transformers' own pipeline chooses."""
    return "sigmoid" if config.problem_type == "multi_label_classification" else "softmax"
