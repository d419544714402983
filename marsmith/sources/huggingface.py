"""A Hugging Face folder: config.json and safetensors, read from the disk and nowhere else."""

from __future__ import annotations

import importlib
import logging
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

import torch
from pydantic import field_validator

from handlers.schema import unknown
from marsmith.cache import Cache
from marsmith.errors import BuildError, MarsmithError, UnsupportedError
from marsmith.extras import need
from marsmith.recipe.sections import Source, Untouched
from marsmith.sources import heads
from marsmith.sources.heads import _tokenizer, _unserved, read_object

WEIGHTS = "model.safetensors"
PICKLE = "pytorch_model.bin"
BY = "transformers, on the folder as it is"
SAVE_ANEW = "save it anew with save_pretrained(FOLDER), if you trust it"


class LoadingInfo(TypedDict):
    """What transformers tells of the weights that it found: names, and shapes that differ."""

    missing_keys: Iterable[str]
    mismatched_keys: Iterable[tuple[str, Sequence[int], Sequence[int]]]


class HuggingFace(Source):
    """`huggingface` is the folder; `head` says what its model is for."""

    TRACED = True

    huggingface: Path
    """The folder, with config.json and model.safetensors."""
    head: str = ""
    """A module of `marsmith.sources.heads`; by default that of the recipe's task."""

    @field_validator("head")
    @classmethod
    def _known(cls, head: str) -> str:
        if head and head not in heads.known():
            raise ValueError(unknown(head, heads.known(), "'head'"))
        return head

    def for_task(self, task: str) -> Source:
        """The source with the task's head, unless another is named."""
        if self.head:
            return self
        if task not in heads.known():
            allowed = ", ".join(heads.known())
            raise ValueError(
                f"the task {task!r} has no head; 'head' must name one of: {allowed}. A model of"
                " images for something else, such as depth, is served by 'task: tensors', and any"
                " other as a 'source.factory': a module whose forward returns tensors"
            )
        return self.model_copy(update={"head": task})

    def load(self, cache: Cache, say: Callable[[str], None]) -> torch.nn.Module:
        """Read the model; nothing is downloaded, and no code of the folder's runs.

        Args:
            cache: not used.
            say: takes one line about what is being done.

        Raises:
            BuildError: a file is missing, damaged, a pickle, or doesn't fit the others.
            UnsupportedError: transformers is not installed, or doesn't know such a model.
        """
        need("huggingface", "transformers")
        folder = self.huggingface
        check(folder)
        _unserved.refuse(folder, self.head)
        head = heads.find(self.head)
        say(f"load {folder.name} for {self.head}")
        model, found = _read(folder, head.AUTO or heads.own_class(folder))
        try:
            module = head.wrap(model, folder).eval()
        except MarsmithError:
            raise
        except Exception as error:  # a model may raise anything
            raise UnsupportedError(
                f"{folder.name} can't be run for {self.head}: {heads.raised(error)}",
                _of_another_task(folder),
            ) from error
        _see_that_it_fits(model, found, f"{folder.name} for {self.head}")
        return module

    def bring(
        self, module: torch.nn.Module, out: Path, own: Mapping[str, object]
    ) -> Mapping[str, object]:
        """Bring what the head takes from the folder: its tokenizer, its labels.

        Raises:
            BuildError: something is missing, or the recipe wants more tokens than the model has
                positions.
        """
        most, wanted = _tokenizer.positions(module), own.get("max_tokens")
        if most is not None and isinstance(wanted, int) and wanted > most:
            raise BuildError(f"'max_tokens' is {wanted}; the model has {most} positions")
        return heads.find(self.head).bring(module, self.huggingface, out)

    def untouched(
        self, instances: Sequence[object], handler: Mapping[str, object], say: Callable[[str], None]
    ) -> Untouched | None:
        """What transformers' own classes, or sentence-transformers, say; nothing of ours runs.

        Where they can't run the folder by themselves, that is told, and no rung says otherwise.
        """
        with _quiet():
            try:
                found = heads.find(self.head).untouched(self.huggingface, instances, handler)
                return found and replace(found, by=found.by or BY)
            except Exception as error:  # what is wrong in the files decides which
                say(f"NOT compared with its own library, which can't run it: {_in_a_line(error)}")
                return None


def _see_that_it_fits(model: torch.nn.Module, found: LoadingInfo, what: str) -> None:
    # Layers without weights would be random, and the model would answer all the same.
    known = model.state_dict()
    for name, stored, wanted in sorted(found["mismatched_keys"]):
        if name in known:
            raise BuildError(f"{what}: {name} is {tuple(stored)}, config.json says {tuple(wanted)}")
    missing = sorted(name for name in found["missing_keys"] if name in known)
    if missing:
        raise BuildError(f"{what}: there are no weights for {missing[0]} ({len(missing)} such)")


def check(folder: Path) -> None:
    """Check that a folder holds one whole model in safetensors, before transformers reads it.

    Raises:
        BuildError: something is missing, or the weights are a pickle.
        UnsupportedError: the model is quantised already, or an adapter to another model.
    """
    if not folder.is_dir():
        raise BuildError(f"there is no folder {folder}", "bring the model: nothing is downloaded")
    if not (folder / "config.json").is_file():
        raise BuildError(f"{folder} has no config.json: it is not a Hugging Face model")
    config = read_object(folder / "config.json")
    if config.get("quantization_config"):
        raise UnsupportedError(
            f"{folder.name} is quantised already", "bring the original: 'precision' quantises it"
        )
    if (folder / "adapter_config.json").is_file():
        raise UnsupportedError(
            f"{folder.name} has an adapter to another model", "merge the two, and save the result"
        )
    weights = _weights(folder)
    if config.get("transformers_weights") or any(Path(w).suffix != ".safetensors" for w in weights):
        raise BuildError(f"the weights in {folder} are not all safetensors", SAVE_ANEW)
    missing = sorted(name for name in weights if not (folder / name).is_file())
    if missing:
        raise BuildError(f"{folder} has no {missing[0]}", "fetch its large files")


def _weights(folder: Path) -> set[str]:
    """The names of the files that hold the weights."""
    index = folder / f"{WEIGHTS}.index.json"
    if not (folder / WEIGHTS).is_file() and index.is_file():
        files = read_object(index).get("weight_map")
        if not isinstance(files, dict):
            raise BuildError(f"{index} has no 'weight_map' of files")
        return set(map(str, files.values()))
    if not (folder / WEIGHTS).is_file() and (folder / PICKLE).is_file():
        raise BuildError(
            f"the weights in {folder} are a pickle, which can run code when it is read", SAVE_ANEW
        )
    return {WEIGHTS}


def _read(folder: Path, auto: str) -> tuple[torch.nn.Module, LoadingInfo]:
    """Read the model, and what transformers tells of the weights that it found."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when transformers is imported
    with _quiet():
        try:
            kind = getattr(importlib.import_module("transformers"), auto)
            try:
                model, found = _from(kind, folder, "sdpa")
            except ValueError as error:  # some models have no other
                if "scaled_dot_product_attention" not in str(error):
                    raise
                model, found = _from(kind, folder, "eager")
        except ImportError as error:
            raise UnsupportedError(f"{folder.name} needs more: {_in_a_line(error)}") from error
        except Exception as error:  # what is wrong in the files decides which
            if "trust_remote_code" in str(error):
                raise UnsupportedError(
                    f"{folder.name} brings code of its own, which is not run"
                ) from None
            said = f"{folder.name} can't be loaded: {_in_a_line(error)}"
            raise BuildError(said, _of_another_task(folder)) from error
    return model, found


def _of_another_task(folder: Path) -> str:
    """Which tasks there are for a folder's model, as a hint; "" where there is none."""
    transformers: Any = importlib.import_module("transformers")
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
    except Exception:  # it is said already what is wrong
        return ""
    own = [getattr(transformers, name, None) for name in config.architectures or ()]

    def reads(auto: str) -> bool:
        kind = getattr(transformers, auto)._model_mapping.get(type(config), ())
        kinds = kind if isinstance(kind, (tuple, list)) else (kind,)
        return bool({each.__name__ for each in kinds} & {*(config.architectures or ())})

    autos = {name: heads.find(name).AUTO for name in heads.known()}
    found = [f"task: {name}" for name, auto in autos.items() if auto and reads(auto)]
    if not found and any(getattr(each, "main_input_name", "") == "pixel_values" for each in own):
        found = ["task: tensors"]
    return f"it is a model for: {', '.join(found)}" if found else ""


def _from(kind: Any, folder: Path, attention: str) -> tuple[torch.nn.Module, LoadingInfo]:
    found: tuple[torch.nn.Module, LoadingInfo] = kind.from_pretrained(
        folder,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        ignore_mismatched_sizes=True,  # it tells which; they are refused
        attn_implementation=attention,  # sdpa and eager can be traced and exported
        dtype=torch.float32,
        output_loading_info=True,
    )
    return found


def _in_a_line(error: Exception) -> str:
    return " ".join((str(error) or type(error).__name__).split())[:300]


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence progress bars, reports and warnings for the block."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reports = importlib.import_module("transformers.utils.logging")
            bars = reports.is_progress_bar_enabled()
            reports.disable_progress_bar()
            try:
                yield
            finally:
                if bars:
                    reports.enable_progress_bar()
    finally:
        logging.disable(disabled)
