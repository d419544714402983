"""Which Python packages serving an archive needs, in which versions, under which licences.

They are read from the source of what travels, and from what is installed here.
"""

from __future__ import annotations

import csv
import hashlib
import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

import handlers
from marsmith import imports
from marsmith.archive.names import NEEDED
from marsmith.recipe.pins import canonical, split_pin
from marsmith.report.report import Package

EVERY_SERVER = "TorchServe"
REQUIREMENTS = "requirements.txt"
HOME = Path(handlers.__file__).parents[1]
TRAVELS = frozenset({"handlers", "archive_entry"})
LICENCE_LENGTH = 100  # a longer one is the text of a licence


@lru_cache(maxsize=1)
def brings() -> Mapping[str, list[str]]:
    """By the name of an import, the packages installed here that bring it; a second of work."""
    return metadata.packages_distributions()


def needed(modules: Iterable[str], pins: Sequence[str]) -> dict[str, Package]:
    """The packages that serving may need: an import that only some settings reach counts, too.

    Args:
        modules: of `handlers`: the task's and the runtime's, which are found by name.
        pins: what the recipe declares.

    Returns:
        By name, what is installed of them here, and of what these need.
    """
    named: dict[str, set[str]] = defaultdict(set)
    for name in NEEDED - TRAVELS:
        for package in brings().get(name, ()):
            named[canonical(package)].add(EVERY_SERVER)
    for file in imports.closure(modules, ours=True):
        if file.is_relative_to(HOME / handlers.__name__):
            for package in _imported(file):
                named[canonical(package)].add(file.relative_to(HOME).as_posix())
    for pin in pins:
        named[split_pin(pin)[0]].add(REQUIREMENTS)
    found: dict[str, Package] = {}
    todo = list(named)
    while todo:
        name = todo.pop()
        if name not in found and (made := _package(name)):
            found[name] = made.model_copy(update={"named_by": tuple(sorted(named.get(name, ())))})
            todo += made.requires
    return {name: _among(found[name], found) for name in sorted(found)}


def _among(package: Package, there: Collection[str]) -> Package:
    """The package without what it requires and isn't there: of another system, say."""
    requires = tuple(name for name in package.requires if name in there)
    return package.model_copy(update={"requires": requires})


def _imported(file: Path) -> Iterator[str]:
    for each in imports.named(file, file.stem):
        top = each.partition(".")[0]
        if top not in sys.stdlib_module_names | TRAVELS:
            yield from brings().get(top, ())


@cache
def _package(name: str) -> Package | None:
    """What is installed of a package, as this process found it first; None if nothing is."""
    try:
        found = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    licence, spdx = _licence(found)
    return Package(
        version=found.version,
        sha256=_digest(found),
        licence=licence,
        spdx=spdx,
        requires=tuple(sorted(set(_requires(found)))),
        named_by=(),
    )


def _requires(package: metadata.Distribution) -> Iterator[str]:
    for line in package.requires or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield canonical(requirement.name)


def _licence(package: metadata.Distribution) -> tuple[str, bool]:
    """What a package says of its licence, and whether that is SPDX's."""
    about = package.metadata.json
    if expression := about.get("license_expression"):
        return str(expression), True
    words = str(about.get("license", "")).strip()
    if words and words.upper() != "UNKNOWN" and len(words) <= LICENCE_LENGTH and "\n" not in words:
        return words, False
    classifiers = about.get("classifier", ())
    said = (each.rpartition(" :: ")[2] for each in classifiers if each.startswith("License ::"))
    return ", ".join(said), False


def _digest(package: metadata.Distribution) -> str | None:
    """A digest of what a package installs, equal wherever its wheel is installed."""
    record = package.read_text("RECORD")
    if record is None:
        return None
    lines = []
    for path, digest, *_ in csv.reader(record.splitlines()):
        # Scripts name the interpreter; what lies in .dist-info is written by who installs.
        if digest and not path.startswith("..") and ".dist-info/" not in path:
            lines.append(f"{digest}  {path}\n")
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest() if lines else None
