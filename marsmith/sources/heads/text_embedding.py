"""An encoder that answers a vector for each text."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, cast

import torch

from handlers.text import text
from marsmith.errors import BuildError, UnsupportedError
from marsmith.recipe.sections import Untouched
from marsmith.sources.heads import _sentence_layers, _tokenizer, _untouched, read_object
from marsmith.sources.heads._sentence_layers import LIBRARY, MODULES, Pool, UnitLength

AUTO = "AutoModel"

SETTINGS = "config_sentence_transformers.json"
POOLING = "1_Pooling/config.json"  # in folders without a list of layers, too
ENCODER_MAY_SAY: Mapping[str, tuple[object, ...]] = {
    "transformer_task": ("feature-extraction",),
    "modality_config": (
        {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
    ),
    "module_output_name": ("token_embeddings",),
}


class Prompts(TypedDict, total=False):
    """What the `handler:` section says of the library's own settings."""

    prompts: dict[str, str]
    default_prompt_name: str
    similarity: str


class Embedding(torch.nn.Module):
    """An encoder whose states become one vector for each text.

    Args:
        model: an encoder of transformers.
        pool: makes one vector of the states of tokens.
        behind: what becomes of that vector, in order.
        exclude_prompt: whether the prompt's tokens are left out of it.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        pool: Pool,
        behind: Sequence[torch.nn.Module] = (),
        *,
        exclude_prompt: bool = False,
    ) -> None:
        super().__init__()
        self.model, self.pool, self.behind = model, pool, torch.nn.Sequential(*behind)
        self.exclude_prompt = exclude_prompt

    @property
    def normalises(self) -> bool:
        """Whether its vectors have length 1."""
        return len(self.behind) > 0 and isinstance(self.behind[-1], UnitLength)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        pooled: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Turn tokens, their mask and what of it counts, (N, T) int64, into (N, D) float32."""
        states = self.model(input_ids=input_ids, attention_mask=attention_mask)[0].float()
        vectors = self.pool(states, attention_mask if pooled is None else pooled)
        found: torch.Tensor = self.behind(vectors)
        return found


def wrap(model: torch.nn.Module, folder: Path) -> torch.nn.Module:
    """Wrap a model in Embedding, with the layers that sentence-transformers' files list.

    Of another folder, the mean of the states is scaled to length 1.

    Raises:
        BuildError: one of these files is damaged.
        UnsupportedError: they say something that Embedding doesn't do.
    """
    layers = _sentence_layers.listed(folder)
    kinds = [layer.kind for layer in layers]
    if layers and kinds[:2] != ["Transformer", "Pooling"]:
        raise UnsupportedError(
            f"{folder.name} has the layers {', '.join(kinds)}; they must begin with Transformer, "
            "Pooling"
        )
    if hasattr(model, "pooler"):  # not needed here, and many folders have no weights for it
        model.register_module("pooler", None)
    if not layers:
        config = _pooling(folder)
        pool = _sentence_layers.pool(config, folder.name)
        without = config.get("include_prompt") is False
        return Embedding(model, pool, [UnitLength()], exclude_prompt=without)
    _check_encoder(folder)
    pooling, behind = layers[1].config, layers[2:]
    return Embedding(
        model,
        _sentence_layers.pool(pooling, folder.name),
        [_sentence_layers.on_vectors(each, folder.name) for each in behind],
        exclude_prompt=pooling.get("include_prompt") is False,
    )


def _check_encoder(folder: Path) -> None:
    """Refuse what the folder says of its encoder and nothing here does."""
    _sentence_layers.check_encoder(folder, ENCODER_MAY_SAY)
    kind = _settings(folder).get("model_type", "SentenceTransformer")
    if kind != "SentenceTransformer":
        raise UnsupportedError(f"{folder.name} is a {kind}, which answers something else")


def _settings(folder: Path) -> dict[str, object]:
    return read_object(folder / SETTINGS) if (folder / SETTINGS).is_file() else {}


def untouched(
    folder: Path, instances: Sequence[object], handler: Mapping[str, object]
) -> Untouched | None:
    """What the folder's own library makes of texts.

    It is sentence-transformers where the folder lists layers, and nothing is said where that isn't
    installed; otherwise transformers' states, pooled as the folder says or by their mean, and
    scaled to length 1.
    """
    if not (folder / MODULES).is_file():
        return _pooled(folder, instances, handler)
    if importlib.util.find_spec(LIBRARY) is None:
        return None
    library: Any = importlib.import_module(LIBRARY)
    model = library.SentenceTransformer(
        str(folder), device="cpu", local_files_only=True, model_kwargs={"dtype": torch.float32}
    )
    if (limit := _untouched.most(handler)) is not None:
        model.max_seq_length = limit
    prompts: Any = handler.get("prompts") or {}
    default = handler.get("default_prompt_name")
    as_the_folder = (prompts, default) == (model.prompts, model.default_prompt_name)
    # Without a prompt the library takes its own default.
    asked = {} if as_the_folder else {"prompt": "" if default is None else prompts.get(default)}
    outputs: list[tuple[torch.Tensor, ...] | None] = []
    for each in instances:
        if isinstance(each, Mapping):  # several texts, which are compared with each other
            outputs.append(None)
            continue
        vectors = model.encode(
            [text.read(each)], convert_to_tensor=True, show_progress_bar=False, **asked
        )
        outputs.append((vectors.float(),))
    by = "sentence-transformers, on the folder as it is"
    return Untouched([None] * len(outputs), outputs, by=by)


def _pooled(
    folder: Path, instances: Sequence[object], handler: Mapping[str, object]
) -> Untouched | None:
    """The same of transformers; None where it isn't known which of a prompt's tokens count."""
    prompts: Any = handler.get("prompts") or {}
    prompt = prompts.get(handler.get("default_prompt_name"), "")
    if handler.get("defaults") or (handler.get("exclude_prompt") and prompt):
        return None
    modes = _sentence_layers.pool(_pooling(folder), folder.name).modes
    model, tokenizer = _untouched.read(folder, AUTO)
    alone = [not isinstance(each, Mapping) for each in instances]  # not texts to be compared
    texts = [prompt + text.read(each) for each, one in zip(instances, alone, strict=True) if one]
    states = iter(
        _untouched.outputs(
            model, tokenizer, [(each, None) for each in texts], _untouched.most(handler)
        )
    )
    outputs: list[tuple[torch.Tensor, ...] | None] = []
    for one in alone:
        said = next(states) if one else None
        if said is None:
            outputs.append(None)
            continue
        vector = torch.cat([ALONE[mode](said[0]) for mode in modes], dim=1)
        outputs.append((torch.nn.functional.normalize(vector),))
    return Untouched([None] * len(outputs), outputs)


def _pooling(folder: Path) -> Mapping[str, object]:
    """What a folder without a list of layers says of its pooling."""
    return read_object(folder / POOLING) if (folder / POOLING).is_file() else {}


def _weighted(states: torch.Tensor) -> torch.Tensor:
    places = torch.arange(1, states.shape[1] + 1)
    return (states * places[:, None]).sum(dim=1) / places.sum()


ALONE: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "cls": lambda states: states[:, 0],
    "max": lambda states: states.amax(dim=1),
    "mean": lambda states: states.mean(dim=1),
    "mean_sqrt_len_tokens": lambda states: states.sum(dim=1) / states.shape[1] ** 0.5,
    "weightedmean": _weighted,
    "lasttoken": lambda states: states[:, -1],
}
"""The poolings of one text's states, (1, T, D), all of whose tokens count."""


def bring(module: torch.nn.Module, folder: Path, out: Path) -> Mapping[str, object]:
    """Bring the tokenizer and the prompts, and say how many tokens the model takes."""
    found = _tokenizer.bring(module, folder, out)
    layers = _sentence_layers.listed(folder)
    if layers:
        _sentence_layers.as_the_library_reads(module, folder, out, found)
    _tokenizer.see_that_it_pads(module, out, found)
    embedding = cast(Embedding, module)
    prompts = _prompts(folder) if layers else {}
    without = {"exclude_prompt": True} if embedding.exclude_prompt else {}
    return {**found, "normalise": embedding.normalises, **prompts, **without}


def _prompts(folder: Path) -> Prompts:
    said = _settings(folder)
    given, default = said.get("prompts") or {}, said.get("default_prompt_name")
    if not isinstance(given, dict):
        raise BuildError(f"'prompts' in {folder / SETTINGS} must be an object")
    prompts = {"query": "", "document": ""} | {k: "" if v is None else v for k, v in given.items()}
    found: Prompts = {
        "prompts": prompts,
        "similarity": str(said.get("similarity_fn_name") or "cosine"),
    }
    if default is not None:
        found["default_prompt_name"] = str(default)
    return found
