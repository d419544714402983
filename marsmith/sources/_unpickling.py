"""A program of its own, `python -m` this: run a pickle, and keep the module in it.

Whatever the pickle names runs here, in a process without network where the system allows that, and
not in the process of the command. It can still do what its user may do to files.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import pickle
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

NEW_USER, NEW_NETWORK = 0x10000000, 0x40000000  # linux/sched.h
WEIGHTS, SCRIPT = "model.safetensors", "model.pt"


def main(file: str, out: str, key: str, found: str) -> None:
    """Run a pickle, and write what can be built of the module in it.

    Args:
        file: the pickle.
        out: a folder that is there.
        key: where in a dict the module is; empty where it is the only one.
        found: a file for what was found, as JSON: "network", whether there was one; "error"; or
            "class", and "factory" or "script" if there is one of them.
    """
    said: dict[str, object] = {"network": not cut_network()}
    try:
        said |= unpickle(Path(file), Path(out), key)
    except Exception as error:  # what the pickle runs may raise anything
        said["error"] = f"{type(error).__name__}: {error}"
    Path(found).write_text(json.dumps(said), "utf-8")


def cut_network() -> bool:
    """Leave the network, for good and with all that this process starts; return whether it worked.

    It must come before the first thread.
    """
    if sys.platform != "linux":
        return False
    unshare = ctypes.CDLL(None, use_errno=True).unshare
    who = {"uid": os.getuid(), "gid": os.getgid()}
    if unshare(NEW_USER | NEW_NETWORK) == 0:
        Path("/proc/self/setgroups").write_text("deny")
        for kind, number in who.items():  # files belong to whom they did
            Path(f"/proc/self/{kind}_map").write_text(f"{number} {number} 1")
        return True
    return bool(unshare(NEW_NETWORK) == 0)


def unpickle(file: Path, out: Path, key: str) -> dict[str, object]:
    """Run a pickle, and write its module's weights, and its code where no factory makes it."""
    from marsmith.recipe.references import on_path

    on_path(Path())
    import torch
    from safetensors.torch import save_model

    module = _module(_run(file), key).cpu().eval()
    save_model(module, str(out / WEIGHTS))
    kind = type(module)
    said: dict[str, object] = {"class": f"{kind.__module__}:{kind.__qualname__}"}
    if makes_the_same(kind, module):
        return said | {"factory": said["class"]}
    try:
        script = torch.jit.script(module)
    except Exception as error:  # most Python can't be scripted, and says so in many ways
        return said | {"unscriptable": str(error).strip().splitlines()[0][:200]}
    with (out / SCRIPT).open("wb") as written:  # by a path, a full disk ends the process
        torch.jit.save(script, written)
    return said | {"script": SCRIPT}


def _run(file: Path) -> object:
    import torch

    try:
        return torch.load(file, map_location="cpu", weights_only=False)
    except (RuntimeError, pickle.UnpicklingError) as error:
        if "magic number" not in str(error) and "corrupt" not in str(error):
            raise
    with file.open("rb") as stream:  # by pickle's own dump
        return pickle.load(stream)  # noqa: S301 - its user trusts it


def _module(held: Any, key: str) -> torch.nn.Module:
    import torch

    if isinstance(held, torch.nn.Module) and not key:
        return held
    items = held.items() if isinstance(held, dict) else ()
    there: dict[str, torch.nn.Module] = {
        str(name): each for name, each in items if isinstance(each, torch.nn.Module)
    }
    if len(there) == 1 and not key:
        return next(iter(there.values()))
    if key not in there:
        known = ", ".join(there) or "none"
        raise LookupError(f"it has several modules, or none; --key names one of them: {known}")
    return there[key]


def makes_the_same(kind: type, module: torch.nn.Module) -> bool:
    """Whether a class, called with nothing, makes a module that differs in weights alone."""
    try:
        if getattr(importlib.import_module(kind.__module__), kind.__qualname__) is not kind:
            return False
        made = kind()
    except Exception:  # it wants arguments, or does anything else
        return False
    one, other = dict(made.named_modules()), dict(module.named_modules())
    return one.keys() == other.keys() and all(_alike(one[name], other[name]) for name in one)


def _alike(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    import torch

    def facts(module: torch.nn.Module) -> dict[str, object]:
        kept: dict[str, object] = dict(vars(module))
        kept.pop("training"), kept.pop("_modules")
        for hooks in [name for name in kept if name.endswith(("_hooks", "_hooks_with_kwargs"))]:
            kept[hooks] = [type(each) for each in vars(module)[hooks].values()]
        for group in ("_parameters", "_buffers"):
            kept[group] = {
                name: (None if each is None else (each.shape, each.dtype))
                for name, each in vars(module)[group].items()
            }
        return kept

    transient = one._non_persistent_buffers_set
    if type(one) is not type(other) or transient != other._non_persistent_buffers_set:
        return False
    for name in transient:
        mine, theirs = one._buffers[name], other._buffers[name]
        if (mine is None) != (theirs is None):
            return False
        if mine is not None and theirs is not None and not torch.equal(mine, theirs):
            return False
    try:
        return bool(facts(one) == facts(other))  # objects that can't be compared differ
    except Exception:  # such as a tensor in a list
        return False


if __name__ == "__main__":
    main(*sys.argv[1:])
