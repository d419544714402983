"""The entry point of an archive: TorchServe loads this file, from the archive's folder.

It checks every file against MAR-INF/SHA256SUMS before anything else of the archive is
imported or read, makes sure that the archive's own `handlers` package is the one imported (a
worker puts the host's PYTHONPATH first) and that the packages it declares are installed, and
subclasses the task that `model-config.yaml` names. TorchServe wants exactly one class defined in
it.
"""

import hashlib
import json
import sys
from importlib import metadata
from pathlib import Path

import yaml

FOLDER = Path(__file__).resolve().parent
SUMS = FOLDER / "MAR-INF" / "SHA256SUMS"


def check_files() -> None:
    """Compare every file with its SHA-256; an archive packed by hand may have none.

    The last line of SHA256SUMS is a comment, "# " and the SHA-256 of the lines before it.
    """
    if not SUMS.is_file():
        return
    lines, _, own = SUMS.read_bytes().rpartition(b"# ")
    if own != hashlib.sha256(lines).hexdigest().encode() + b"\n":
        raise RuntimeError("the archive is damaged: MAR-INF/SHA256SUMS has changed")
    for line in lines.decode("utf-8").splitlines():
        expected, _, name = line.partition("  ")
        file = FOLDER / name
        if not file.is_file():
            raise RuntimeError(f"the archive is damaged: {name} is missing")
        digest = hashlib.sha256()
        with file.open("rb") as stream:
            for chunk in iter(lambda: stream.read(1 << 20), b""):
                digest.update(chunk)
        if digest.hexdigest() != expected:
            raise RuntimeError(f"the archive is damaged: {name} has changed since it was built")


def check_requirements() -> None:
    """Compare the packages that the archive declares with those that are installed.

    TorchServe installs them only with `install_py_dep_per_model`. A version may have a local part
    that its pin doesn't have: 2.0+cpu is a 2.0.
    """
    manifest = json.loads((FOLDER / "MAR-INF" / "MANIFEST.json").read_text("utf-8"))
    name = manifest["model"].get("requirementsFile")
    wrong, pins = [], []
    for pin in (FOLDER / name).read_text("utf-8").split() if name else ():
        package, _, version = pin.partition("==")
        package = package.partition("[")[0]
        try:
            found = metadata.version(package)
        except metadata.PackageNotFoundError:
            found = "not installed"
        if version not in (found, found.partition("+")[0]):
            wrong.append(f"{package} is {found}")
            pins.append(f"'{pin}'")
    if wrong:
        raise RuntimeError(
            f"this archive needs other packages than this server has: {', '.join(wrong)}"
            f" (pip install {' '.join(pins)})"
        )


def find_task() -> type:
    """The handler class that `handler.task` in `model-config.yaml` names.

    A module of `handlers` ("image_classification"), or "module:Class" anywhere in the archive.
    """
    if sys.version_info < (3, 10):  # noqa: UP036 - a server's Python is not ours to choose
        raise RuntimeError(f"this archive needs Python 3.10 or newer, not {sys.version.split()[0]}")
    try:
        manifest = json.loads((FOLDER / "MAR-INF" / "MANIFEST.json").read_text("utf-8"))
        config = yaml.safe_load((FOLDER / manifest["model"]["configFile"]).read_text("utf-8"))
        name = str(config["handler"]["task"])
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise RuntimeError(
            f"the archive's configuration names no handler.task: {error!r}"
        ) from error
    from handlers.tasks import find

    return find(name)


check_files()
sys.path.insert(0, str(FOLDER))
check_requirements()


class Handler(find_task()):  # type: ignore[misc]  # known only when the archive is read
    """The task of this archive."""
