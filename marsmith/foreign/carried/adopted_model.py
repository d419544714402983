"""Models that TorchServe's own handlers run, as ones that take and answer tensors in batches.

`marsmith adopt` has written this file beside its recipe. The model itself is unchanged.
"""

import importlib
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

HERE = Path(__file__).parent


def detector(model: str, weights: str = "") -> torch.jit.ScriptModule:
    """Make a detector whose finds have one shape for a batch.

    Args:
        model: a TorchScript file beside this one, or "module:class".
        weights: of the class, a state_dict.
    """
    found = _scripted(model, weights)
    schema: Any = found.forward.schema  # type: ignore[attr-defined]
    if str(schema.returns[0].type).startswith("Tuple"):  # losses, and what was found
        return _scripted_quietly(WithLosses(found))
    of_a_list = str(schema.arguments[1].type) == "List[Tensor]"
    return _scripted_quietly(OfAList(found) if of_a_list else OfABatch(found))


def bag_of_words(model: str, weights: str = "") -> torch.jit.ScriptModule:
    """Make a classifier of numbered words that takes padded rows, and their lengths.

    Args:
        model: a TorchScript file beside this one, or "module:class".
        weights: of the class, a state_dict.
    """
    return _scripted_quietly(BagOfWords(_scripted(model, weights)))


def _scripted(model: str, weights: str) -> torch.jit.ScriptModule:
    if not weights:
        loaded: torch.jit.ScriptModule = torch.jit.load(HERE / model, map_location="cpu")
        return loaded.eval() if hasattr(loaded, "training") else loaded  # a frozen one has none
    module, _, name = model.partition(":")
    made = getattr(importlib.import_module(module), name)()
    made.load_state_dict(torch.load(HERE / weights, map_location="cpu", weights_only=True))
    return _scripted_quietly(made.requires_grad_(False))


def _scripted_quietly(module: nn.Module) -> torch.jit.ScriptModule:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says that TorchScript is deprecated
        return torch.jit.script(module.eval())


def _padded(
    found: list[dict[str, torch.Tensor]],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Boxes, (N, A, 4), scores, (N, A), and labels, (N, A); a score of 0 is none."""
    boxes = nn.utils.rnn.pad_sequence([each["boxes"] for each in found], batch_first=True)
    scores = nn.utils.rnn.pad_sequence([each["scores"] for each in found], batch_first=True)
    labels = nn.utils.rnn.pad_sequence([each["labels"] for each in found], batch_first=True)
    return boxes, scores, labels


class OfABatch(nn.Module):
    """A detector that takes a batch of images, and answers a dictionary for each."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Find what is in images, (N, C, H, W) float32."""
        return _padded(self.model(image))


class OfAList(nn.Module):
    """A detector that takes a list of images, and answers a dictionary for each."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Find what is in images, (N, C, H, W) float32."""
        return _padded(self.model(list(torch.unbind(image))))


class WithLosses(nn.Module):
    """A detector of a list of images that answers losses first, as torchvision's do if scripted."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Find what is in images, (N, C, H, W) float32."""
        return _padded(self.model(list(torch.unbind(image)))[1])


class BagOfWords(nn.Module):
    """A classifier that takes all words of a batch in one row, and where each text begins."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Classify texts: (N, T) int64, of which the first `lengths`, (N,) int64, count."""
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        words = input_ids[places < lengths.unsqueeze(1)]
        logits: torch.Tensor = self.model(words, torch.cumsum(lengths, 0) - lengths)
        return logits
