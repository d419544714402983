"""A recogniser like wav2vec2: CTC over raw samples, with scores of letters for each frame."""

from __future__ import annotations

import importlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from handlers.protocols.base64_text import encoded
from marsmith.errors import UnsupportedError
from marsmith.recipe.sections import Untouched
from marsmith.sources.heads import _on_samples

AUTO = "AutoModelForCTC"

FILE = "vocabulary.json"


class Recogniser(torch.nn.Module):
    """A model from samples to the scores of tokens; lengths say where recordings are padded.

    Args:
        model: a CTC model of transformers.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, waveform: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        """Turn samples, (N, S) float32, and lengths, (N,) int64, into logits, (N, T, V)."""
        mask = _on_samples.mask(waveform, lengths)
        logits: torch.Tensor = self.model(waveform, attention_mask=mask)[0]
        return logits


def wrap(model: torch.nn.Module, folder: Path) -> torch.nn.Module:
    """Wrap a model in Recogniser.

    Raises:
        UnsupportedError: the model doesn't take samples, or makes fewer frames than its
            convolutions do.
    """
    _on_samples.check(model, folder)
    return Recogniser(model)


def untouched(
    folder: Path, instances: Sequence[object], handler: Mapping[str, object]
) -> Untouched:
    """What transformers makes of recordings that have the model's own rate: logits of frames."""
    soundfile: Any = importlib.import_module("soundfile")
    model, sound = _on_samples.model_of(folder, AUTO), _read(folder, "AutoFeatureExtractor")
    as_the_folder = handler.get("normalise", sound.do_normalize) == sound.do_normalize
    outputs: list[tuple[torch.Tensor, ...] | None] = []
    for each in instances:
        samples, rate = soundfile.read(io.BytesIO(encoded(each, "a recording")), dtype="float32")
        if rate != sound.sampling_rate or samples.ndim > 1 or not as_the_folder:
            outputs.append(None)
            continue
        features = sound(samples, sampling_rate=rate, return_tensors="pt")
        with torch.inference_mode():
            outputs.append((model(features["input_values"]).logits.float(),))
    return Untouched([None] * len(outputs), outputs)


def bring(module: torch.nn.Module, folder: Path, out: Path) -> Mapping[str, object]:
    """Bring the vocabulary, and say how samples become frames.

    Padding changes the answers of models whose first convolution is normalised over time
    ("group"); with them, only recordings of one length share a batch.

    Raises:
        BuildError: the folder has no tokenizer or no feature extractor.
        UnsupportedError: it has vocabularies of several languages.
    """
    config: Any = module.model.config  # type: ignore[union-attr]
    tokenizer, sound = _read(folder, "AutoTokenizer"), _read(folder, "AutoFeatureExtractor")
    numbers = tokenizer.get_vocab()
    if not all(isinstance(number, int) for number in numbers.values()):
        raise UnsupportedError(f"{folder.name} has a vocabulary of several languages")
    blank, delimiter = str(tokenizer.pad_token), str(tokenizer.word_delimiter_token)
    if getattr(tokenizer, "do_lower_case", False):
        numbers = {n if n in (blank, delimiter) else n.lower(): numbers[n] for n in numbers}
    names = {number: name for name, number in numbers.items()}
    # Tokens without a name are called by their number.
    found = [names.get(number, f"<{number}>") for number in range(config.vocab_size)]
    (out / FILE).write_text(json.dumps(found))
    stride, field = _on_samples.frames(config)
    return {
        "sample_rate": sound.sampling_rate,
        "normalise": sound.do_normalize,
        "lengths": _on_samples.masks(config),
        "stride": stride,
        "field": field,
        "vocabulary": FILE,
        "blank": blank,
        "delimiter": delimiter,
    }


def _read(folder: Path, auto: str) -> Any:
    found = _on_samples.read(folder, auto)
    wanted = "word_delimiter_token" if auto == "AutoTokenizer" else "do_normalize"
    if not hasattr(found, wanted):
        raise UnsupportedError(
            f"{folder.name}: {type(found).__name__} is not wav2vec2's", _on_samples.SAVE
        )
    return found
