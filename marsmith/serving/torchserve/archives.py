"""Find the archives to serve, and the names of the models in them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from marsmith.archive.reading import Named, glance
from marsmith.errors import ArchiveError, no_such

# What torch-model-archiver allows; TorchServe itself would split at "," and "=".
MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def find_archives(archives: Sequence[Path | str], model_store: Path) -> dict[str, Named]:
    """Find the archives to serve.

    Args:
        archives: paths to `.mar` files, or names of archives in the model store, perhaps with
            "@sha256:DIGEST" behind them; when empty, all archives in the model store.
        model_store: the folder that names are looked up in.

    Returns:
        The archives by the names of their models.

    Raises:
        ArchiveError: one is missing or is not an archive, or two hold models of one name.
    """
    stored = sorted(model_store.glob("*.mar"))
    if not archives and not stored:
        raise ArchiveError(
            f"there is no archive (*.mar) in {model_store}",
            hint="write one with `marsmith build`, or name the path of an archive",
        )
    found: dict[str, Named] = {}
    for archive in archives or stored:
        said = Named.of(archive)
        path = _path_of(said.path, model_store, stored)
        name = read_model_name(path)
        if name in found:
            raise ArchiveError(
                f"{found[name].path} and {path} both hold a model named {name!r}; a server takes"
                " one",
                hint="serve them on different ports, or build one under another name",
            )
        found[name] = Named(path, said.sha256)
    return found


def _path_of(named: Path, model_store: Path, stored: Sequence[Path]) -> Path:
    # A bare name means the store, never a file that happens to lie in the working folder.
    paths = [named, model_store / named] if named.suffix == ".mar" else []
    for path in [*paths, model_store / f"{named}.mar"]:
        if path.is_file():
            return path
    raise ArchiveError(
        no_such("archive", str(named), [path.stem for path in stored], f"in {model_store}"),
        hint="name the path of a .mar file, or the name of one in the model store",
    )


def read_model_name(archive: Path) -> str:
    """Read the name of an archive's model from its manifest.

    Raises:
        ArchiveError: it is not an archive, or TorchServe couldn't serve a model of that name.
    """
    name = glance(archive).model.get("modelName")
    if not isinstance(name, str) or not MODEL_NAME.fullmatch(name) or ".." in name:
        raise ArchiveError(
            f"{archive} names its model {name!r}; TorchServe takes letters, digits, '_', '-' and"
            " single '.', beginning with a letter or digit"
        )
    if name.startswith("token"):
        raise ArchiveError(
            f"{archive} names its model {name!r}; TorchServe refuses management requests for"
            " names that begin with 'token': it takes them for those of its token API",
            hint="build it under another name",
        )
    return name
