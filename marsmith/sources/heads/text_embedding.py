"""An encoder that answers a vector for each text."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from handlers.text import text
from marsmith.errors import BuildError, UnsupportedError
from marsmith.recipe.sections import Untouched
from marsmith.sources.heads import _tokenizer, _untouched, read_json, read_object

AUTO = "AutoModel"

LIBRARY, MODULES = "sentence_transformers", "modules.json"

LAYERS = (
    "Transformer",
    "Pooling",
    "Normalize",
)  # sentence-transformers', which Embedding does
POOLING = {"mean": "mean", "mean_tokens": "mean", "cls": "cls", "cls_token": "cls"}


class Embedding(torch.nn.Module):
    """An encoder that pools its states into one vector of length 1 for each text.

    Args:
        model: an encoder of transformers.
        pooling: "mean" of the states of tokens that aren't masked, or "cls", the first state.
    """

    def __init__(self, model: torch.nn.Module, pooling: str) -> None:
        super().__init__()
        self.model, self.pooling = model, pooling

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Turn tokens and their mask, (N, T) int64, into vectors, (N, D) float32."""
        states = self.model(input_ids=input_ids, attention_mask=attention_mask)[0].float()
        if self.pooling == "cls":
            vectors = states[:, 0]
        else:
            weights = attention_mask.unsqueeze(-1).float()
            vectors = (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
        return torch.nn.functional.normalize(vectors, dim=1)


def wrap(model: torch.nn.Module, folder: Path) -> torch.nn.Module:
    """Wrap a model in Embedding, pooled as sentence-transformers' files say, else by the mean.

    Raises:
        BuildError: one of these files is damaged.
        UnsupportedError: they say something that Embedding doesn't do.
    """
    file = folder / MODULES
    modules = read_json(file) if file.is_file() else []
    if not isinstance(modules, list) or not all(
        isinstance(each, dict) and "type" in each for each in modules
    ):
        raise BuildError(f"{file} must be a list of layers, each with its 'type'")
    layers = {str(layer["type"]).rpartition(".")[2]: layer.get("path", "") for layer in modules}
    for layer in layers:
        if layer not in LAYERS:
            raise UnsupportedError(f"{folder.name} has a layer {layer}; only {LAYERS} are known")
    pooling = folder / layers.get("Pooling", "1_Pooling") / "config.json"
    said = read_object(pooling) if pooling.is_file() else {"pooling_mode": "mean"}
    switched = [key.removeprefix("pooling_mode_") for key, on in said.items() if on is True]
    named = said.get("pooling_mode") or switched
    modes = [str(mode) for mode in (named if isinstance(named, list) else [named])]
    modes = [mode for mode in modes if mode != "include_prompt"]
    if len(modes) != 1 or modes[0] not in POOLING:
        raise UnsupportedError(
            f"{folder.name} pools by {' and '.join(modes)}; only mean and cls are known"
        )
    if hasattr(model, "pooler"):  # not needed here, and many folders have no weights for it
        model.register_module("pooler", None)
    return Embedding(model, POOLING[modes[0]])


def untouched(
    folder: Path, instances: Sequence[object], handler: Mapping[str, object]
) -> Untouched | None:
    """What sentence-transformers, if installed, makes of texts; None of a folder of another's."""
    if not (folder / MODULES).is_file() or importlib.util.find_spec(LIBRARY) is None:
        return None
    library: Any = importlib.import_module(LIBRARY)
    model = library.SentenceTransformer(
        str(folder), device="cpu", local_files_only=True, model_kwargs={"dtype": torch.float32}
    )
    if (limit := _untouched.most(handler)) is not None:
        model.max_seq_length = limit
    outputs: list[tuple[torch.Tensor, ...] | None] = []
    for each in instances:
        if isinstance(each, Mapping):  # several texts, which are compared with each other
            outputs.append(None)
            continue
        vectors = model.encode(
            [text.read(each)], convert_to_tensor=True, normalize_embeddings=True,
            show_progress_bar=False,
        )  # fmt: skip
        outputs.append((vectors.float(),))
    return Untouched([None] * len(outputs), outputs)


def bring(module: torch.nn.Module, folder: Path, out: Path) -> Mapping[str, object]:
    """Bring the tokenizer, and say how many tokens the model takes."""
    found = _tokenizer.bring(module, folder, out)
    _tokenizer.see_that_it_pads(module, out, found)
    return found
