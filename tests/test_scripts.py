"""`scripts/build`, on recipes of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from marsmith.cli import new
from tests.support.paths import ROOT


@pytest.mark.slow
def test_build_goes_on_after_a_failure(tmp_path: Path) -> None:
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    shutil.copy(ROOT / "scripts" / "build", scripts)
    (scripts / "setup").write_text("#!/bin/sh\n")  # its environment is the one of this test
    (scripts / "setup").chmod(0o755)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    configs = tmp_path / "archiver_configs"
    written, *_ = new.write("rents", "tabular", tmp_path)
    configs.mkdir()
    for file in written.parent.iterdir():
        shutil.copy(file, configs)
    (configs / "broken.yaml").write_text("name: broken")

    def build(*names: str) -> tuple[int, list[str]]:
        done = subprocess.run(
            [scripts / "build", *names], env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert not done.stderr
        return done.returncode, done.stdout.splitlines()

    status, (failed, made) = build()
    assert status == 1
    assert failed.startswith("broken failed: error: ")
    assert "torchscript:fp32" in made.split()
    assert (tmp_path / "model_store" / "rents.mar").is_file()
    status, (made,) = build("rents")
    assert status == 0
