"""Which names the files of an archive may have.

A name becomes a path of the server, on whatever file system it has, and a line of SHA256SUMS; at
the archive's root it is an import name, too.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterable

from marsmith.errors import ArchiveError

LONGEST = 512
"""Bytes of a whole name."""
LONGEST_PART = 255
"""Bytes between two "/": what Linux's file systems take."""
DEEPEST = 32
NEEDED = frozenset({"handlers", "archive_entry", "numpy", "PIL", "torch", "ts", "yaml"})
"""Import names that an archive of ours needs itself, or that every server has."""
AT_START = frozenset({"sitecustomize", "usercustomize"})
"""Modules that Python imports by itself as it starts."""
DRIVE = re.compile(r"[A-Za-z]:")
CODE = (".py", ".pyc", ".pyo", ".so", ".pyd", ".pth")
INVISIBLE = ("Cc", "Cf", "Cs", "Zl", "Zp")  # of Unicode's categories
OUR_CODE = frozenset({"handlers/__init__.py", "archive_entry.py"})


def check(name: str) -> None:
    """Refuse a name that is no plain relative path.

    Args:
        name: with "/" between its parts, and after the last one of a folder.

    Raises:
        ArchiveError: it isn't, and why; the message leaves out the archive.
    """
    parts = name.removesuffix("/").split("/")
    if name.startswith("/"):
        why = "is an absolute path"
    elif DRIVE.match(name):
        why = "begins with a drive"
    elif "\\" in name:
        why = "has a backslash in its name"
    elif any(unicodedata.category(letter) in INVISIBLE for letter in name):
        why = "has an invisible character in its name"
    elif ".." in parts:
        why = "would lie outside the archive's folder"
    elif "" in parts or "." in parts:
        why = "has an empty part in its name"
    elif len(parts) > DEEPEST:
        why = f"lies deeper than {DEEPEST} folders"
    elif len(name.encode()) > LONGEST or any(len(p.encode()) > LONGEST_PART for p in parts):
        why = f"has a name longer than {LONGEST} bytes, or {LONGEST_PART} between two '/'"
    else:
        return
    raise ArchiveError(f"the entry {shown(name)} {why}")


def check_together(names: Iterable[str]) -> None:
    """Refuse names that some file system would take for one, or that can't both be there.

    Raises:
        ArchiveError: two are equal, or equal but for case or Unicode form; or a file is a folder.
    """
    files: dict[str, str] = {}
    folders: dict[str, str] = {}
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ArchiveError(f"the entry {shown(name)} is there twice")
        seen.add(name)
        *above, last = name.split("/")  # of a folder, the last is empty
        paths = [("/".join(above[:depth]), folders) for depth in range(1, len(above) + 1)]
        paths += [(name, files)] if last else []
        for path, kind in paths:
            if (other := kind.setdefault(folded(path), path)) != path:
                raise ArchiveError(
                    f"the entries {shown(other)} and {shown(path)} differ in case or Unicode form"
                    " alone"
                )
    for both in sorted(files.keys() & folders.keys()):
        raise ArchiveError(f"the entry {shown(files[both])} is a file and a folder")


def check_hides_nothing(names: Iterable[str]) -> None:
    """Refuse code at an archive's root that a worker would import instead of what it needs.

    A worker has the archive's folder on its PYTHONPATH, so such a file runs before anything that
    could check it.

    Raises:
        ArchiveError: there is some.
    """
    for name in names:
        if name in OUR_CODE:
            continue
        root, _, rest = name.partition("/")
        stem = root.partition(".")[0]
        importable = (not rest and root.endswith(CODE)) or rest.startswith("__init__.")
        if importable and is_taken(stem):
            raise ArchiveError(
                f"the entry {shown(name)} would be imported in the place of {stem!r}, which a"
                " worker needs before it can check anything"
            )


def is_taken(module: str) -> bool:
    """Whether an import name is Python's, a server's, or the archive's own."""
    return module in NEEDED | AT_START or module in sys.stdlib_module_names


def folded(name: str) -> str:
    """A name as the least discerning file system knows it."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def shown(name: str) -> str:
    """A name in quotes, cut, with escapes for all that isn't printable ASCII."""
    return ascii(name if len(name) <= 80 else f"{name[:77]}...")
