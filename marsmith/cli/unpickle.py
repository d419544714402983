"""`marsmith unpickle FILE`: what a pickle names; and, if its user trusts it, the module in it."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marsmith import imports
from marsmith.cli.json_output import AsJson, document
from marsmith.cli.terminal import err, out
from marsmith.errors import MarsmithError

if TYPE_CHECKING:
    from marsmith.sources._pickles import Scan

USUAL = (
    "argparse.Namespace", "collections.", "numpy.core.multiarray.", "numpy._core.multiarray.",
    "numpy.dtype", "numpy.ndarray", "pathlib.", "torch._tensor._rebuild", "torch._utils._rebuild",
    "torch.device", "torch.nn.modules.", "torch.nn.parameter.", "torch.Size", "builtins.set",
    "builtins.dict", "builtins.list", "torch.storage.",
)  # fmt: skip
"""What names of plain data and of torch's own layers begin with."""


def unpickle(
    file: Annotated[Path, typer.Argument(help="What torch.save(model) or pickle.dump wrote.")],
    trusted: Annotated[
        bool, typer.Option("--i-trust-this", help="Run it. It can be any program.")
    ] = False,
    folder: Annotated[
        Path | None, typer.Option("--out", help="An empty folder, or a new one.")
    ] = None,
    key: Annotated[str, typer.Option(help="Which module of a dict of several.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show what a pickled module would run; with --i-trust-this, run it, and keep the module."""
    from marsmith.sources import _pickles

    if not file.is_file():
        raise MarsmithError(f"there is no file {file}")
    if not _pickles.is_pickle(file):
        raise MarsmithError(f"{file} is not a pickle", "`marsmith build FILE --task` may read it")
    scanned = _pickles.scan(file)
    target = folder or Path(f"{file.stem}_unpickled")
    if as_json:
        with document() as found:
            found |= {"names": dict(names(scanned)), "damaged": scanned.damaged}
            _refuse(file, scanned, target, trusted)
            found |= {**run(file, target, key), "folder": str(target)}
        return
    for line in lines(scanned):
        out.print(line, markup=False)
    _refuse(file, scanned, target, trusted)
    for line in told(file, target, run(file, target, key)):
        out.print(line, markup=False)


def _refuse(file: Path, scanned: Scan, target: Path, trusted: bool) -> None:
    """Refuse what does harm, isn't trusted, or has nowhere to go."""
    if scanned.harmful:
        raise MarsmithError(
            f"{file} names {', '.join(scanned.harmful)}, which no model needs: it is not run",
            "it may have been made to do harm; ask whoever made it for a state_dict",
        )
    if not trusted:
        raise MarsmithError(
            "nothing was run: to read a pickle is to run it, with your rights",
            f"if you trust it: `marsmith unpickle --i-trust-this {shlex.quote(str(file))} --out"
            f" {shlex.quote(str(target))}`; `marsmith build --factory` reads its weights, and runs"
            " nothing of it",
        )
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise MarsmithError(f"{target} must be an empty folder, or a new one: choose another --out")


def names(scanned: Scan) -> Iterator[tuple[str, dict[str, object]]]:
    """Each name in a pickle: whether it is called, and what it is."""
    for name in scanned.names:
        called = name in scanned.called
        yield name, {"called": called, "origin": origin(name, name in scanned.harmful)}


def lines(scanned: Scan) -> Iterator[str]:
    """A line for each name in a pickle: what it is, and whether it is called."""
    width = max(map(len, scanned.names), default=0)
    for name, said in names(scanned):
        called = "called" if said["called"] else "named "
        yield f"{name.ljust(width)}  {called}  {said['origin']}"
    if scanned.damaged:
        yield "the file ends too early, or is no pickle from there on"


def origin(name: str, harmful: bool) -> str:
    """Where a name comes from, in words; what deserves a look begins with "LOOK"."""
    if harmful:
        return "HARMFUL: it runs commands or code, or reaches files or the network"
    if name.startswith(USUAL) or (name.startswith("torch.") and name.endswith("Storage")):
        return "plain data, or a layer of torch's"
    module = name.rpartition(".")[0]
    if module == "__main__":
        return "LOOK: of the script or notebook that saved it; it can't be found from here"
    file = imports.file_of(module)
    if file is None:
        known = module.partition(".")[0] in sys.stdlib_module_names
        return "LOOK: Python's own" if known else "LOOK: it can't be found here"
    if imports.INSTALLED & set(file.parts):
        return f"LOOK: of the package {module.partition('.')[0]}, which is installed"
    if imports.STANDARD in file.parents:
        return "LOOK: Python's own"
    return f"your own: {file}"


def run(file: Path, target: Path, key: str) -> dict[str, Any]:
    """Run a pickle in a process of its own; return what it says of itself.

    Raises:
        MarsmithError: it failed, or has no module.
    """
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        found = Path(work, "found.json")
        command = [sys.executable, "-m", "marsmith.sources._unpickling"]
        # What it prints is not this command's answer.
        done = subprocess.run(
            [*command, str(file), str(target), key, str(found)], stdout=sys.stderr, check=False
        )
        if not found.is_file():
            raise MarsmithError(f"{file}: the process that ran it ended with {done.returncode}")
        said: dict[str, Any] = json.loads(found.read_text("utf-8"))
    network = "WITH the network: this system lets nobody leave it"
    err.print(f"it ran {network if said['network'] else 'without network'}", markup=False)
    if error := said.get("error"):
        raise MarsmithError(f"{file} can't be unpickled: {error}", hint_for(str(error), file))
    return said


def hint_for(error: str, file: Path) -> str:
    """What to do about what a pickle has raised."""
    weights = (
        f"`marsmith build {file} --task TASK --factory my_module:make` reads its weights and runs"
        " nothing of it"
    )
    if "__main__" in error:
        return (
            "its class is of the script or notebook that saved it; put the class into a module of"
            f" its own, and {weights}"
        )
    if "No module named" in error or "Can't get attribute" in error:
        return f"run it from the folder that has the module, or pip install it; or {weights}"
    return "" if "--key" in error else weights


def told(file: Path, target: Path, said: dict[str, Any]) -> Iterator[str]:
    """What was written, and the command that builds it."""
    weights = target / "model.safetensors"
    yield f"wrote {weights}"
    build = "next: marsmith build"
    if "factory" in said:
        yield f"{build} {weights} --factory {said['factory']} --task TASK"
    elif "script" in said:
        yield f"wrote {target / said['script']}, TorchScript: {said['class']} wants arguments"
        yield f"{build} {target / said['script']} --task TASK"
    else:
        yield (
            f"{said['class']} can't be made without arguments, and not be scripted:"
            f" {said['unscriptable']}"
        )
        yield "write a function that makes it with the arguments that it was made with, and then"
        yield f"{build} {weights} --factory my_module:make --task TASK"
