"""What a step needs installed, and the extra of marsmith that brings it."""

from __future__ import annotations

import importlib.util

from marsmith.errors import UnsupportedError


def need(extra: str, *modules: str) -> None:
    """Check that packages are installed.

    Args:
        extra: the extra of marsmith that brings them.
        modules: the modules that must be importable.

    Raises:
        UnsupportedError: one of them isn't; the hint is the `pip install`.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise UnsupportedError(
            f"{', '.join(missing)} is not installed", f"pip install 'marsmith[{extra}]'"
        )
