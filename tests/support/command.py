"""The `marsmith` command, run as a user runs it."""

from __future__ import annotations

import subprocess
import sys

from tests.support.paths import ROOT


def marsmith(*arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does, in a pipe."""
    command = [sys.executable, "-m", "marsmith.cli", *map(str, arguments)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False
    )
    assert not check or done.returncode == 0, done.stderr
    return done
