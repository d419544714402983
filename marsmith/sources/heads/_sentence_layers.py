"""The layers of a sentence-transformers folder, from the states of tokens to one vector.

See: sentence_transformers' Pooling, Dense, LayerNorm and Normalize, whose files these read.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from marsmith.errors import BuildError, UnsupportedError
from marsmith.sources.heads import _tokenizer, read_json, read_object

LIBRARY, MODULES = "sentence_transformers", "modules.json"
ENCODER = "sentence_bert_config.json"
VECTOR = "sentence_embedding"
OLD_SWITCHES = {
    "cls_token": "cls",
    "max_tokens": "max",
    "mean_tokens": "mean",
    "mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "weightedmean_tokens": "weightedmean",
    "lasttoken": "lasttoken",
}
"""What older folders switch on by `pooling_mode_...`, in the order in which they are joined."""

NO_ARGUMENTS: Mapping[str, tuple[object, ...]] = dict.fromkeys(
    ("processing_kwargs", "model_args", "tokenizer_args", "config_args", "model_kwargs",
     "processor_kwargs", "config_kwargs", "query_expansion"), ({}, None)
)  # fmt: skip

Config = Mapping[str, object]


@dataclass(frozen=True)
class Layer:
    """One layer as modules.json lists it: its class's name, its folder, its own config.json."""

    kind: str
    folder: Path
    config: Config


def listed(folder: Path) -> list[Layer]:
    """The layers of a folder; none if it isn't one of sentence-transformers.

    Raises:
        BuildError: a file is damaged.
        UnsupportedError: a layer is of somebody else's code, or the encoder isn't in the folder.
    """
    file = folder / MODULES
    modules = read_json(file) if file.is_file() else []
    if not isinstance(modules, list) or not all(
        isinstance(each, dict) and "type" in each for each in modules
    ):
        raise BuildError(f"{file} must be a list of layers, each with its 'type'")
    found = []
    for each in modules:
        package, _, kind = str(each["type"]).rpartition(".")
        if package.partition(".")[0] != LIBRARY:
            raise UnsupportedError(
                f"{folder.name} has a layer {each['type']}, code of its own, which is not run"
            )
        place = folder / str(each.get("path", ""))
        if kind == "Transformer" and place != folder:
            raise UnsupportedError(
                f"the encoder of {folder.name} is in {each['path']}",
                "save the folder anew with SentenceTransformer(FOLDER).save(NEW)",
            )
        said = place / "config.json"
        own = place != folder and said.is_file()
        found.append(Layer(kind, place, read_object(said) if own else {}))
    return found


def check_encoder(folder: Path, may_say: Mapping[str, tuple[object, ...]]) -> None:
    """Refuse what the folder says of its encoder and nothing here does.

    Args:
        folder: of the model.
        may_say: what its settings may say, where they say it: anything else changes its answer.

    Raises:
        UnsupportedError: they say something else.
    """
    file = folder / ENCODER
    said = read_object(file) if file.is_file() else {}
    for key, allowed in {**NO_ARGUMENTS, **may_say}.items():
        if key in said and said[key] not in allowed:
            raise UnsupportedError(f"{folder.name} has a {key} in {ENCODER}: {str(said[key])[:80]}")


def as_the_library_reads(
    module: torch.nn.Module, folder: Path, out: Path, found: _tokenizer.TokenSettings
) -> None:
    """Take a limit of the encoder's own before the tokenizer's, and lower case if it says so."""
    said = read_object(folder / ENCODER) if (folder / ENCODER).is_file() else {}
    limit = said.get("max_seq_length")
    if isinstance(limit, int):
        found["max_tokens"] = min(limit, _tokenizer.positions(module) or limit)
    if said.get("do_lower_case"):
        _tokenizer.lower_case(out)


class Pool(torch.nn.Module):
    """Pools states of tokens, in one way or several, whose vectors are joined.

    Args:
        modes: keys of POOLING.
    """

    def __init__(self, modes: Sequence[str]) -> None:
        super().__init__()
        self.modes = tuple(modes)

    def forward(self, states: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
        """Turn states, (N, T, D), and which of them count, (N, T) int64, into (N, modes · D)."""
        return torch.cat([POOLING[mode](states, pooled) for mode in self.modes], dim=1)


def _mean(states: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
    weights = pooled.unsqueeze(-1).float()
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-9)


def _mean_of_root(states: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
    weights = pooled.unsqueeze(-1).float()
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-9).sqrt()


def _weighted_mean(states: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
    """The mean of states, each as often as its place: the first once, the second twice."""
    weights = (torch.ones_like(pooled).cumsum(dim=1) * pooled).unsqueeze(-1).float()
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1e-9)


def _most(states: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
    return states.masked_fill(pooled.unsqueeze(-1) == 0, float("-inf")).amax(dim=1)


def _first(states: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
    return _at(states, pooled.int().argmax(dim=1))


def _last(states: torch.Tensor, pooled: torch.Tensor) -> torch.Tensor:
    """The state of the last token that counts; zeros where none does."""
    places = torch.ones_like(pooled).cumsum(dim=1) * pooled
    return _at(states * pooled.unsqueeze(-1).to(states.dtype), places.int().argmax(dim=1))


def _at(states: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    index = places.long()[:, None, None].expand(-1, 1, states.shape[2])
    return states.gather(1, index).squeeze(1)


POOLING: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "cls": _first,
    "max": _most,
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_of_root,
    "weightedmean": _weighted_mean,
    "lasttoken": _last,
}


def pool(config: Config, name: str) -> Pool:
    """The pooling that a layer's settings ask for.

    Raises:
        UnsupportedError: it is none of POOLING.
    """
    named = config.get("pooling_mode")
    if named is None:
        switched = [
            mode for key, mode in OLD_SWITCHES.items() if config.get(f"pooling_mode_{key}") is True
        ]
        named = switched or "mean"
    modes = [str(mode) for mode in (named if isinstance(named, list) else [named])]
    for mode in modes:
        if mode not in POOLING:
            raise UnsupportedError(f"{name} pools by {mode}; these are known: {', '.join(POOLING)}")
    return Pool(modes)


class Projection(torch.nn.Module):
    """A linear layer and its activation, perhaps added to what came in.

    Args:
        linear: the layer.
        activation: what follows it.
        residual: what becomes of the input that is added; None to add nothing.
    """

    def __init__(
        self,
        linear: torch.nn.Linear,
        activation: torch.nn.Module,
        residual: torch.nn.Module | None,
    ) -> None:
        super().__init__()
        self.linear, self.activation_function, self.residual = linear, activation, residual

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Turn vectors, (N, in_features), into (N, out_features)."""
        found: torch.Tensor = self.activation_function(self.linear(vectors))
        return found if self.residual is None else found + self.residual(vectors)


class UnitLength(torch.nn.Module):
    """Scales vectors, (N, D), to length 1."""

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Scale each."""
        return torch.nn.functional.normalize(vectors, dim=1)


def on_vectors(layer: Layer, name: str) -> torch.nn.Module:
    """The module of a layer behind the pooling.

    Args:
        layer: what modules.json says of it.
        name: of the folder, for messages.

    Raises:
        BuildError: its files are damaged.
        UnsupportedError: nothing here does what it does.
    """
    if layer.kind not in BEHIND:
        known = ", ".join(("Transformer", "Pooling", *BEHIND))
        raise UnsupportedError(f"{name} has a layer {layer.kind}; these are known: {known}")
    for key in ("module_input_name", "module_output_name"):
        if layer.config.get(key) not in (None, VECTOR):
            raise UnsupportedError(
                f"the layer {layer.kind} of {name} has the {key} {layer.config[key]!r}; only "
                f"{VECTOR!r} is known"
            )
    return BEHIND[layer.kind](layer)


def _dense(layer: Layer) -> torch.nn.Module:
    into, out = _size(layer, "in_features"), _size(layer, "out_features")
    bias = layer.config.get("bias", True) is True
    residual: torch.nn.Module | None = None
    if layer.config.get("use_residual"):
        residual = torch.nn.Linear(into, out, bias=False) if into != out else torch.nn.Identity()
    module = Projection(torch.nn.Linear(into, out, bias=bias), _activation(layer), residual)
    return _loaded(module, layer)


def _activation(layer: Layer) -> torch.nn.Module:
    said = str(layer.config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    kind = (
        getattr(torch.nn, said.rpartition(".")[2], None) if said.startswith("torch.nn.") else None
    )
    if not isinstance(kind, type) or not issubclass(kind, torch.nn.Module):
        raise UnsupportedError(
            f"the activation_function of {layer.folder.name} is {said}, which is not of torch.nn"
        )
    found: torch.nn.Module = kind()
    return found


def _layer_norm(layer: Layer) -> torch.nn.Module:
    norm = torch.nn.LayerNorm(_size(layer, "dimension"))
    return _loaded(torch.nn.Sequential(OrderedDict(norm=norm)), layer)


def _size(layer: Layer, key: str) -> int:
    size = layer.config.get(key)
    if not isinstance(size, int) or size < 1:
        raise BuildError(f"{layer.folder / 'config.json'} has no {key!r}")
    return size


def _loaded(module: torch.nn.Module, layer: Layer) -> torch.nn.Module:
    """The module with its weights.

    Raises:
        BuildError: they are missing, a pickle, or another module's.
    """
    file = layer.folder / "model.safetensors"
    if not file.is_file():
        raise BuildError(
            f"{layer.folder} has no {file.name}; a pickle can run code when it is read",
            "save the folder anew with SentenceTransformer(FOLDER).save(NEW), if you trust it",
        )
    try:
        module.load_state_dict(load_file(file))
    except (RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BuildError(f"the weights in {file} don't fit its config.json: {reason}") from error
    return module


BEHIND: dict[str, Callable[[Layer], torch.nn.Module]] = {
    "Dense": _dense,
    "LayerNorm": _layer_norm,
    "Dropout": lambda layer: torch.nn.Identity(),
    "Normalize": lambda layer: UnitLength(),
}
