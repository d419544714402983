"""VITS, such as the voices of MMS: a model that speaks texts, letter by letter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from handlers.tasks.speech_synthesis import DECIMALS
from handlers.text import text
from marsmith.errors import BuildError, UnsupportedError, reason
from marsmith.recipe.sections import Untouched
from marsmith.sources.heads import _characters, _tokenizer, _untouched
from marsmith.sources.heads._vits import Vits

AUTO = "AutoModelForTextToWaveform"

KIND = "vits"
NEAR = 1e-4  # of a duration, which another order of sums may round otherwise


def wrap(model: torch.nn.Module, folder: Path) -> torch.nn.Module:
    """Wrap a model in `Vits`.

    Raises:
        UnsupportedError: it isn't VITS, or one of another shape than is known.
    """
    config: Any = model.config
    if config.model_type != KIND:
        raise UnsupportedError(
            f"{folder.name} is a model of type {config.model_type!r}; {KIND!r} is known here",
            "serve it with a factory of your own: `marsmith new NAME --task speech_synthesis`",
        )
    kernels = zip(config.upsample_kernel_sizes, config.upsample_rates, strict=True)
    if any((kernel - rate) % 2 for kernel, rate in kernels):
        raise UnsupportedError(
            f"{folder.name}: 'upsample_kernel_sizes' less 'upsample_rates' must be even",
            "otherwise a frame has no whole number of samples",
        )
    return Vits(model)


def bring(module: torch.nn.Module, folder: Path, out: Path) -> Mapping[str, object]:
    """Bring the tokenizer; say the voices, and what is drawn for a frame.

    Raises:
        BuildError: the folder has no tokenizer.
        UnsupportedError: its tokenizer can't travel.
    """
    assert isinstance(module, Vits)  # noqa: S101 - `wrap` returns no other
    config = module.model.config
    several = config.num_speakers > 1
    return {
        **_brought(folder, out),
        "sampling_rate": config.sampling_rate,
        "noise_size": config.flow_size,
        "duration_noise": config.use_stochastic_duration_prediction,
        "voices": [str(each) for each in range(config.num_speakers)] if several else ["default"],
        "defaults": {
            "speaking_rate": config.speaking_rate,
            "noise_scale": config.noise_scale,
            "noise_scale_duration": config.noise_scale_duration,
        },
    }


def _brought(folder: Path, out: Path) -> Mapping[str, object]:
    import transformers

    if (folder / _tokenizer.FILE).is_file():  # of somebody who knows better
        return {"tokenizer": _tokenizer.bring(torch.nn.Identity(), folder, out)["tokenizer"]}
    try:
        theirs = transformers.VitsTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # what is wrong in the files decides which
        raise BuildError(
            f"{folder.name} has no tokenizer that can be read: {reason(error)}", _tokenizer.SAVE
        ) from error
    return _characters.bring(theirs, folder, out)


def untouched(
    folder: Path, instances: Sequence[object], handler: Mapping[str, object]
) -> Untouched:
    """What transformers makes of each text alone, with the seed that the handler has by itself.

    Nothing is said of texts in which a token's duration is so near to a whole number of frames
    that another order of sums rounds it otherwise.
    """
    model, tokenizer = _untouched.read(folder, AUTO)
    said = handler.get("defaults")
    said = said if isinstance(said, Mapping) else {}
    for name in ("speaking_rate", "noise_scale", "noise_scale_duration"):
        setattr(model, name, said.get(name, getattr(model, name)))
    doubtful: list[bool] = []

    def see(module: torch.nn.Module, given: object, log_duration: torch.Tensor) -> None:
        frames = torch.exp(log_duration) / model.speaking_rate
        doubtful.append(bool(((frames - frames.round()).abs() < NEAR * frames).any()))

    model.duration_predictor.register_forward_hook(see)
    more = _speaker(model.config, handler, said)
    answers: list[object] = []
    for instance in instances:
        tokens = tokenizer(text.read(instance), return_tensors="pt")
        with torch.random.fork_rng([]), torch.inference_mode():
            torch.manual_seed(int(said.get("seed", 0)))
            found = model(**tokens, **more).waveform[0]
        samples = [round(each, DECIMALS) for each in found.double().tolist()]
        sound = {"samples": samples, "sampling_rate": model.config.sampling_rate}
        answers.append(None if doubtful.pop() else sound)
    return Untouched(answers, [None] * len(answers))


def _speaker(
    config: Any, handler: Mapping[str, object], said: Mapping[str, object]
) -> dict[str, int]:
    """The speaker of the voice that the handler has by itself."""
    voices, wanted = handler.get("voices"), said.get("voice")
    if config.num_speakers < 2:
        return {}
    named = isinstance(voices, Sequence) and wanted in voices
    return {"speaker_id": voices.index(wanted) if named and isinstance(voices, Sequence) else 0}
