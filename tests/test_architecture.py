"""The rules between the packages, read off the source."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.support.structure import House

ROOT = Path(__file__).resolve().parents[1]
HANDLERS = sorted((ROOT / "handlers").rglob("*.py"))
MARSMITH = sorted((ROOT / "marsmith").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
HOUSE = House(ROOT)
ALLOWED = {"handlers", "numpy", "PIL", "torch", "ts"} | sys.stdlib_module_names
# What `pip install marsmith` brings, beside what handlers need; all else is an extra.
BROUGHT = {
    "httpx", "marsmith", "matplotlib", "platformdirs", "psutil", "pydantic", "rich", "safetensors",
    "typer", "yaml",
}  # fmt: skip
