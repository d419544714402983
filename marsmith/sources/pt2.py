"""A program that `torch.export` wrote, in a `.pt2` file."""

from __future__ import annotations

import io
import json
import logging
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import torch

from marsmith.cache import Cache
from marsmith.errors import BuildError, reason
from marsmith.recipe.sections import Source

SAVE = "write one with torch.export.save(torch.export.export(model, ...), ...)"


class Pt2File(Source):
    """`pt2` is the file. A program is code: use only what you trust.

    Files with pickles or machine code in them are refused. That doesn't make the others harmless:
    torch evaluates their expressions of shapes as Python.
    """

    RUNTIME: ClassVar[str] = "pt2"

    pt2: Path
    """What `torch.export.save` wrote, of a model whose batch is dynamic."""

    def load(self, cache: Cache, say: Callable[[str], None]) -> torch.nn.Module:
        """Load the program.

        Args:
            cache: not used.
            say: takes one line about what is being done.

        Raises:
            BuildError: there is no such file, it is not an exported program, it has pickles in
                it, or its batch size is fixed.
        """
        path = self.pt2
        if not path.is_file():
            raise BuildError(f"there is no exported program {path}")
        say(f"load {path.name}")
        try:
            refuse_pickles(path)
            program = _read(path)
        except BuildError:
            raise
        except Exception as error:  # torch raises what it meets
            raise BuildError(
                f"{path.name} is not an exported program: {reason(error)}", SAVE
            ) from error
        _expect_dynamic(program, path)
        # Without the guards, which are Python in the file; a batch of one would fail some of them.
        module = program.module(check_guards=False)
        for switch in ("train", "eval"):  # they only raise; an exported program has one mode
            module.__dict__.pop(switch, None)
        return module


def refuse_pickles(path: Path) -> None:
    """Refuse a program that torch would unpickle, or that has machine code in it.

    Raises:
        BuildError: the file is such a program, or none at all.
    """
    with zipfile.ZipFile(path) as archive:
        records = {name.partition("/")[2]: name for name in archive.namelist()}
        if any(name.startswith("data/aotinductor/") for name in records):
            raise BuildError(
                f"{path.name} is a compiled package, and not a program that can be converted",
                SAVE,
            )
        if "models/model.json" not in records or len(records) < len(archive.namelist()):
            raise BuildError(f"{path.name} is not an exported program", SAVE)
        for record, name in records.items():
            if _unpickles(record, archive.read(name)):
                raise BuildError(
                    f"{path.name} keeps {record} as a pickle, which may be any code",
                    "export a model whose weights and inputs are plain tensors",
                )


def _unpickles(record: str, data: bytes) -> bool:
    """Whether torch would read a record as a pickle with more than tensors in it."""
    folder, _, name = record.rpartition("/")
    if folder == "data/sample_inputs":
        try:
            torch.load(io.BytesIO(data), weights_only=True)
        except pickle.UnpicklingError:
            return True
    if folder not in ("data/weights", "data/constants"):
        return not record  # an older format, all pickles
    if name.endswith(".json"):
        return any(payload["use_pickle"] for payload in json.loads(data)["config"].values())
    return name.startswith(("custom_obj_", "opaque_obj_")) or name.endswith(".pt")


def _read(path: Path) -> torch.export.ExportedProgram:
    log = logging.getLogger("torch.export")
    before = log.disabled
    log.disabled = True  # it logs the traceback of what it then raises
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's own parts, to each other
            return torch.export.load(path)
    finally:
        log.disabled = before


def _expect_dynamic(program: torch.export.ExportedProgram, path: Path) -> None:
    names = set(program.graph_signature.user_inputs)
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if node.name in names and isinstance(value, torch.Tensor):
            if value.dim() == 0 or isinstance(value.shape[0], torch.SymInt):
                continue
            raise BuildError(
                f"{path.name} was exported for batches of exactly {value.shape[0]}: the first "
                f"dimension of {node.name!r} is fixed",
                "export with dynamic_shapes, {0: torch.export.Dim('batch')} of every input",
            )
