"""Run the notebooks of docs/notebooks/ anew, and keep what they show.

`python -m tests.support.notebooks`; names after it choose some of them.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT

FOLDER = ROOT / "docs" / "notebooks"
TIMEOUT_S = 900
STAMP = "outputs_of"
"""In a cell's metadata: which cells, up to it, its outputs are of."""


def read(path: Path) -> Any:
    """Read a notebook."""
    from nbformat import v4

    load: Any = v4.reads
    return load(path.read_text("utf-8"))


def run(path: Path, state: Path) -> Any:
    """Run all cells of a notebook in a new kernel, in an empty folder.

    Args:
        path: the notebook.
        state: a folder for its servers, and for what IPython keeps.

    Raises:
        CellExecutionError: a cell has raised something.
    """
    from nbclient import NotebookClient

    notebook = read(path)
    places = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    own = {"PYTHONPATH": places, "MARSMITH_STATE": str(state), "IPYTHONDIR": str(state / "ipython")}
    environment = {**os.environ, **own}
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        client = NotebookClient(notebook, timeout=TIMEOUT_S, resources=resources)
        client.execute(env=environment)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = joined(cell.outputs)
    return notebook


def joined(outputs: list[Any]) -> list[Any]:
    """Outputs with all that is printed at a stretch in one, however it came."""
    found: list[Any] = []
    for each in outputs:
        last = found[-1] if found else None
        if last is not None and each.output_type == "stream" and last.get("name") == each.name:
            last.text += each.text
        else:
            found.append(each)
    return found


def stamps(notebook: Any) -> Iterator[tuple[Any, str]]:
    """Each cell of code, and the stamp of what it and all cells before it say.

    Args:
        notebook: as it was read; or its file, as JSON.
    """
    digest = hashlib.sha256()
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            digest.update("".join(cell["source"]).encode())
            yield cell, digest.hexdigest()[:16]


def kept(notebook: Any) -> Any:
    """A notebook that was run, with stamps and without what belongs to one machine and moment."""
    for cell, stamp in stamps(notebook):
        cell.metadata = {STAMP: stamp}
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return notebook


def main(names: list[str]) -> None:
    """Run the notebooks of these names, or all."""
    import nbformat

    write: Any = nbformat.write
    for path in sorted(FOLDER.glob("*.ipynb")):
        if not names or path.stem in names:
            with tempfile.TemporaryDirectory() as state:
                write(kept(run(path, Path(state))), path)
            print(f"{path.name}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
