"""An encoder whose answer is a vector for each text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from marsmith.errors import UnsupportedError
from marsmith.sources.heads import _tokenizer, read_json

AUTO = "AutoModel"

LAYERS = ("Transformer", "Pooling", "Normalize")  # of sentence-transformers, that Embedding does
POOLING = {"mean": "mean", "mean_tokens": "mean", "cls": "cls", "cls_token": "cls"}


class Embedding(torch.nn.Module):
    """An encoder whose states become one vector of length 1 for each text.

    Args:
        model: an encoder of transformers.
        pooling: "mean" of the states of what isn't masked, or "cls", the first.
    """

    def __init__(self, model: torch.nn.Module, pooling: str) -> None:
        super().__init__()
        self.model, self.pooling = model, pooling

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Tokens and their mask, (N, T) int64, to (N, D) float32."""
        states = self.model(input_ids=input_ids, attention_mask=attention_mask)[0].float()
        if self.pooling == "cls":
            vectors = states[:, 0]
        else:
            weights = attention_mask.unsqueeze(-1).float()
            vectors = (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
        return torch.nn.functional.normalize(vectors, dim=1)


def wrap(model: torch.nn.Module, folder: Path) -> torch.nn.Module:
    """Embedding, pooled as sentence-transformers' files in the folder say; else by the mean.

    Raises:
        UnsupportedError: they say something that Embedding doesn't do.
    """
    modules = read_json(folder / "modules.json") if (folder / "modules.json").is_file() else []
    layers = {str(layer["type"]).rpartition(".")[2]: layer.get("path", "") for layer in modules}
    for layer in layers:
        if layer not in LAYERS:
            raise UnsupportedError(f"{folder.name} has a layer {layer}; only {LAYERS} are known")
    pooling = folder / layers.get("Pooling", "1_Pooling") / "config.json"
    said = read_json(pooling) if pooling.is_file() else {"pooling_mode": "mean"}
    modes = said.get("pooling_mode") or [
        key.removeprefix("pooling_mode_") for key, on in said.items() if on is True
    ]
    modes = [modes] if isinstance(modes, str) else modes
    modes = [mode for mode in modes if mode != "include_prompt"]
    if len(modes) != 1 or modes[0] not in POOLING:
        raise UnsupportedError(
            f"{folder.name} pools by {' and '.join(modes)}; only mean and cls are known"
        )
    if hasattr(model, "pooler"):  # of no use here, and many folders have no weights for it
        model.register_module("pooler", None)
    return Embedding(model, POOLING[modes[0]])


def bring(module: torch.nn.Module, folder: Path, out: Path) -> dict[str, Any]:
    """The tokenizer, and how many tokens the model takes."""
    found = _tokenizer.bring(module, folder, out)
    _tokenizer.see_that_it_pads(module, out, found)
    return found
