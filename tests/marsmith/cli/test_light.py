"""What only asks what there is waits for no engine: the command imports what it needs alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

HEAVY = {"torch", "numpy", "httpx", "jinja2", "matplotlib", "yaml", "PIL", "ts"}
LOOK = """
import sys
from marsmith.cli.commands import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
    sys.exit(end.code)
"""


@pytest.mark.parametrize("said", ["--help", "--version", "build --help", "serve --help"])
def test_help_imports_nothing_heavy(said: str) -> None:
    command = [sys.executable, "-c", LOOK, *said.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout
    imported = set(done.stderr.splitlines()[-1].split())
    assert "typer" in imported
    assert imported & HEAVY == set()


@pytest.mark.parametrize(
    "said",
    ["inspect {}", "bench http://127.0.0.1:1/x", "build archiver_configs/digits.yaml --name x"],
)
def test_what_needs_no_torch_does_not_wait_for_it(said: str, digits_archive: Path) -> None:
    command = [sys.executable, "-c", LOOK, *said.format(digits_archive).split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    imported = set(done.stderr.splitlines()[-1].split())
    assert "typer" in imported
    assert imported & {"torch", "ts"} == set()
