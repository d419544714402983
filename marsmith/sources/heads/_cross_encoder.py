"""What a folder of sentence-transformers' cross-encoders says besides its model.

See: sentence_transformers' CrossEncoder, whose files these are.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from marsmith.errors import UnsupportedError
from marsmith.sources.heads import _on_tokens, _sentence_layers, _tokenizer, read_object
from marsmith.sources.heads._sentence_layers import LIBRARY, MODULES

BY = "transformers and sentence-transformers, on the folder as it is"
SETTINGS, KIND = "config_sentence_transformers.json", "CrossEncoder"
KEY, OLD_KEY = "activation_fn", "sbert_ce_default_activation_function"
ACTIVATIONS = {"Sigmoid": "sigmoid", "Identity": "none", "Softmax": "softmax"}
"""The functions of torch.nn that a handler knows, and its names for them."""
MAY_SAY: Mapping[str, tuple[object, ...]] = {
    "transformer_task": ("sequence-classification",),
    "modality_config": ({"text": {"method": "forward", "method_output_name": "logits"}},),
    "module_output_name": ("scores",),
}


def activation(folder: Path) -> str | None:
    """How the folder says that logits become scores, in a handler's word; None if it doesn't.

    Raises:
        UnsupportedError: it names a function that no handler knows.
    """
    said = _named(folder)
    if said is None:
        return None
    library, _, name = str(said).rpartition(".")
    if library.split(".")[0] != "torch" or name not in ACTIVATIONS:
        raise UnsupportedError(
            f"{folder.name} has the {KEY} {str(said)[:80]}",
            f"those known are torch.nn's: {', '.join(ACTIVATIONS)}; write one of them there",
        )
    return ACTIVATIONS[name]


def _named(folder: Path) -> object:
    own = _settings(folder).get(KEY) if is_one(folder) else None
    if own is not None:
        return own
    config = read_object(folder / "config.json")
    said = config.get("sentence_transformers")
    return said[KEY] if isinstance(said, dict) and KEY in said else config.get(OLD_KEY)


def is_one(folder: Path) -> bool:
    """Whether the library has written the folder, and for a cross-encoder."""
    return (folder / MODULES).is_file() and _settings(folder).get("model_type") == KIND


def _settings(folder: Path) -> dict[str, object]:
    return read_object(folder / SETTINGS) if (folder / SETTINGS).is_file() else {}


def bring(module: torch.nn.Module, folder: Path, out: Path) -> _tokenizer.TokenSettings:
    """Bring the tokenizer of a model that takes pairs, as whoever wrote the folder reads it.

    Raises:
        UnsupportedError: the folder has more than a model for tokens.
    """
    found = _on_tokens.bring(module, folder, out)
    if is_one(folder):
        kinds = [layer.kind for layer in _sentence_layers.listed(folder)]
        if kinds != ["Transformer"]:
            raise UnsupportedError(
                f"{folder.name} has the layers {', '.join(kinds)}; it must have one, Transformer"
            )
        _sentence_layers.check_encoder(folder, MAY_SAY)
        _sentence_layers.as_the_library_reads(module, folder, out, found)
    return found


def prompt(folder: Path) -> str:
    """What the library puts before the first of two texts."""
    said = _settings(folder) if is_one(folder) else {}
    prompts, name = said.get("prompts"), said.get("default_prompt_name")
    return str(prompts.get(name) or "") if isinstance(prompts, dict) and name else ""


def ask(
    folder: Path, questions: Sequence[Sequence[str]], limit: int | None
) -> list[torch.Tensor] | None:
    """What the library makes of each text, or pair of them; None where it isn't installed.

    Args:
        folder: of the model.
        questions: texts, one or two together.
        limit: how many tokens are read.

    Returns:
        For each (classes,), or () of a model with one: scores as the folder says.
    """
    model = _read(folder, limit)
    if model is None:
        return None
    asked = [each[0] if len(each) == 1 else list(each) for each in questions]
    return [
        model.predict(each, convert_to_tensor=True, show_progress_bar=False).float()
        for each in asked
    ]


def rank(
    folder: Path, asked: Sequence[tuple[str, Sequence[str]]], limit: int | None
) -> list[list[tuple[int, float]]] | None:
    """How the library ranks documents: the place and score of each, best first.

    Args:
        folder: of the model.
        asked: queries, each with its documents.
        limit: how many tokens are read.

    Returns:
        A ranking for each query; None where the library isn't installed.
    """
    model = _read(folder, limit)
    if model is None:
        return None
    found = [model.rank(query, list(given), show_progress_bar=False) for query, given in asked]
    return [[(int(each["corpus_id"]), float(each["score"])) for each in one] for one in found]


def _read(folder: Path, limit: int | None) -> Any:
    """The library's own model; None where it isn't installed."""
    if importlib.util.find_spec(LIBRARY) is None:
        return None
    library: Any = importlib.import_module(LIBRARY)
    read: Mapping[str, Any] = {"device": "cpu", "local_files_only": True}
    model = library.CrossEncoder(str(folder), model_kwargs={"dtype": torch.float32}, **read)
    if limit is not None:
        model.max_seq_length = limit
    return model
