"""Models of transformers that take samples, as wav2vec2 does, and what prepares recordings."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

import torch

from marsmith.errors import BuildError, UnsupportedError

SAVE = "save what belongs to it beside the model: processor.save_pretrained(FOLDER)"


def read(folder: Path, auto: str) -> Any:
    """Read a folder's feature extractor, or its tokenizer, as transformers does by itself.

    Raises:
        BuildError: there is none, or it is damaged.
    """
    try:
        kind = getattr(importlib.import_module("transformers"), auto)
        return kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # what is wrong in the files decides which
        reason = " ".join(str(error).split())[:200]
        raise BuildError(f"{folder.name} can't be read by {auto}: {reason}", SAVE) from error


def model_of(folder: Path, auto: str) -> Any:
    """Read a folder's model, with numbers of 32 bits, as transformers does by itself."""
    kind = getattr(importlib.import_module("transformers"), auto)
    return kind.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True, trust_remote_code=False
    ).eval()


def check(model: torch.nn.Module, folder: Path) -> None:
    """Check that a model makes a frame of samples with convolutions.

    Raises:
        UnsupportedError: it does not, or makes fewer frames than its convolutions do.
    """
    config: Any = model.config
    if not hasattr(config, "conv_stride") or not hasattr(config, "conv_kernel"):
        raise UnsupportedError(f"{folder.name} is not a model of raw samples, as wav2vec2 is")
    if getattr(config, "add_adapter", False):
        raise UnsupportedError(f"{folder.name} has an adapter that joins frames")


def mask(waveform: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor | None:
    """What of samples, (N, S), is no padding: (N, S) int64; None where there are no lengths."""
    if lengths is None:
        return None
    places = torch.arange(waveform.shape[1], device=waveform.device)
    return (places < lengths.unsqueeze(1)).long()


def frames(config: Any) -> tuple[int, int]:
    """Samples from one of a model's frames to the next, and those that a frame needs."""
    strides, kernels = config.conv_stride, config.conv_kernel
    steps = [math.prod(strides[:layer]) for layer in range(len(strides))]
    field = 1 + sum(step * (k - 1) for step, k in zip(steps, kernels, strict=True))
    return math.prod(strides), field


def masks(config: Any) -> bool:
    """Whether padding changes no frame: not where the first norm is over time ("group")."""
    return getattr(config, "feat_extract_norm", "group") == "layer"
