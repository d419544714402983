"""Completion in the shells that people have, of what the shells themselves are given."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.paths import ROOT

Complete = Callable[[str], list[str]]
PROGRAM = """#!{python}
from marsmith.cli.commands import main
main()
"""
# What each shell runs when Tab is pressed behind the line in $LINE, after loading the script.
PRESS = {
    "bash": """
source "$SCRIPT"
COMP_LINE=$LINE COMP_POINT=${#LINE}
read -ra COMP_WORDS <<< "$LINE"
[[ $LINE == *" " ]] && COMP_WORDS+=("")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
function=$(complete -p marsmith | sed 's/.*-F \\([^ ]*\\).*/\\1/')
$function marsmith "${COMP_WORDS[COMP_CWORD]}" ""
printf '%s\\n' "${COMPREPLY[@]}"
""",
    "zsh": """
autoload -U compinit && compinit -u -D
source "$SCRIPT"
_arguments() {
  print -r -- "$@" | tr '\n' ' ' | grep -oE '"[^"]*"(:"[^"]*")?' | sed 's/^"//; s/".*//'
}
_files() { }
words=("${(@s: :)LINE}")
CURRENT=$#words
_marsmith_completion
""",
    "fish": """
source "$SCRIPT"
complete -C "$LINE" | string replace -r '\\t.*' ''
""",
}


SHELLS = [pytest.param(each, marks=pytest.mark.slow if each != "bash" else ()) for each in PRESS]


@pytest.fixture(params=SHELLS)
def complete(request: pytest.FixtureRequest, tmp_path: Path) -> Complete:
    """Press Tab behind a line, in a shell whose current folder has a store, and a recipe."""
    shell: str = request.param
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here")
    program = tmp_path / "bin" / "marsmith"
    program.parent.mkdir()
    program.write_text(PROGRAM.format(python=sys.executable))
    program.chmod(0o755)
    home = tmp_path / "home"
    (home / "model_store").mkdir(parents=True)
    (home / "archiver_configs").mkdir()
    (home / "own.yaml").touch()
    (home / "archiver_configs" / "digits.yaml").touch()
    for name in ("digits", "dates", "wide"):
        (home / "model_store" / f"{name}.mar").touch()
    server = tmp_path / "state" / "servers" / "8080"
    server.mkdir(parents=True)
    (server / "server.json").write_text(json.dumps({"models": ["digits", "minilm"]}))
    environment = {
        **os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}", "HOME": str(home),
        "PYTHONPATH": str(ROOT), "MARSMITH_STATE": str(tmp_path / "state"),
    }  # fmt: skip

    def run(command: list[str], **more: str) -> str:
        done = subprocess.run(
            command, cwd=home, env={**environment, **more}, capture_output=True, text=True,
            timeout=300, check=False,
        )  # fmt: skip
        assert not done.stderr, done.stderr
        return done.stdout

    script = tmp_path / "script"
    script.write_text(run([shell, "-c", "marsmith --show-completion; true"]))

    def press(line: str) -> list[str]:
        return run([shell, "-c", PRESS[shell]], LINE=line, SCRIPT=str(script)).split()

    return press


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("marsmith bui", ["build"]),
        ("marsmith build ", ["archiver_configs/digits.yaml", "own.yaml"]),
        ("marsmith build own.yaml --tas", ["--task"]),
        ("marsmith new mine --task image_c", ["image_classification"]),
        ("marsmith tasks fill", ["fill_mask"]),
        ("marsmith serve d", ["dates", "digits"]),
        ("marsmith predict ", ["digits", "minilm"]),
    ],
)
def test_tab_completes(complete: Complete, line: str, expected: list[str]) -> None:
    assert sorted(complete(line)) == expected
