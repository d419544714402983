"""An encoder that answers a vector for each text."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
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
    exclude_prompt: bool
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
        said = folder / POOLING
        config = read_object(said) if said.is_file() else {}
        return Embedding(model, _sentence_layers.pool(config, folder.name), [UnitLength()])
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

    It is sentence-transformers where files in the folder are for that, and nothing is said where it
    isn't installed; otherwise it is the mean of transformers' states, scaled to length 1.
    """
    if not (folder / MODULES).is_file():
        return None if (folder / POOLING).is_file() else _mean(folder, instances, handler)
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


def _mean(
    folder: Path, instances: Sequence[object], handler: Mapping[str, object]
) -> Untouched | None:
    """The same of transformers; None where a recipe may have put a prompt of its own before it."""
    if handler.get("exclude_prompt") or handler.get("defaults"):
        return None
    prompts: Any = handler.get("prompts") or {}
    prompt = prompts.get(handler.get("default_prompt_name"), "")
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
        outputs.append(said and (torch.nn.functional.normalize(said[0].mean(dim=1)),))
    return Untouched([None] * len(outputs), outputs)


def bring(module: torch.nn.Module, folder: Path, out: Path) -> Mapping[str, object]:
    """Bring the tokenizer and the prompts, and say how many tokens the model takes."""
    found = _tokenizer.bring(module, folder, out)
    layers = _sentence_layers.listed(folder)
    if layers:
        _sentence_layers.as_the_library_reads(module, folder, out, found)
    _tokenizer.see_that_it_pads(module, out, found)
    embedding = cast(Embedding, module)
    prompts = _prompts(embedding, folder) if layers else {}
    return {**found, "normalise": embedding.normalises, **prompts}


def _prompts(module: Embedding, folder: Path) -> Prompts:
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
    if module.exclude_prompt:
        found["exclude_prompt"] = True
    return found
