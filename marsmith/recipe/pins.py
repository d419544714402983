"""One package in one version, as a recipe declares what its handler needs: "rapidfuzz==3.14.6"."""

from __future__ import annotations

import re

PIN = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?(?:\[[A-Za-z0-9._,-]+\])?"
    r"==[A-Za-z0-9][A-Za-z0-9.!+_-]*"
)


def split_pin(pin: str) -> tuple[str, str]:
    """The name, as registries compare names, and the version of a `PIN`."""
    name, _, version = pin.partition("==")
    return canonical(name.partition("[")[0]), version


def canonical(name: str) -> str:
    """A package's name as registries compare names."""
    return re.sub(r"[-_.]+", "-", name).lower()
