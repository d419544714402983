"""What a step needs installed, and the extra of marsmith that brings it."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping

from marsmith import imports
from marsmith.errors import UnsupportedError

OF_TASKS = {"tokenizers": "text", "regex": "text", "soundfile": "speech", "soxr": "speech"}
"""By the modules that some tasks can't do without, the extra that brings each."""


def need(extra: str, *modules: str) -> None:
    """Check that packages are installed.

    Args:
        extra: the extra of marsmith that brings them.
        modules: the modules that must be importable.

    Raises:
        UnsupportedError: one of them isn't; the hint is the `pip install`.
    """
    _check(dict.fromkeys(modules, extra), "")


def need_for(task: str) -> None:
    """Check that what a task can't do without is installed; nothing is imported.

    Args:
        task: a module of `handlers.tasks`, or "module:Class" of one's own.

    Raises:
        UnsupportedError: something isn't; the hint is the `pip install`.
    """
    own, colon, _ = task.partition(":")
    files = imports.closure([own if colon else f"handlers.tasks.{task}"], ours=True)
    named = {each.partition(".")[0] for file in files for each in imports.named(file, file.stem)}
    _check({each: OF_TASKS[each] for each in OF_TASKS if each in named}, f", which {task} needs")


def _check(extras: Mapping[str, str], why: str) -> None:
    missing = [name for name in extras if importlib.util.find_spec(name) is None]
    if missing:
        are = "is" if len(missing) == 1 else "are"
        wanted = ",".join(sorted({extras[name] for name in missing}))
        raise UnsupportedError(
            f"{', '.join(missing)} {are} not installed{why}", f"pip install 'marsmith[{wanted}]'"
        )
