"""The picture of a session in README.md, drawn of one that really runs: `python -m pages.session`.

It builds, serves, asks and stops the model `digits` in a folder of its own, which takes a minute,
and writes docs/session.svg.
"""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

from pages.blocks import ROOT

PICTURE = ROOT / "docs" / "session.svg"
COLUMNS = 112
STATE = "~/.local/state/marsmith"  # where it is for whoever has no folder of its own
COMMANDS = (
    "marsmith build archiver_configs/digits.yaml",
    "marsmith serve digits",
    "marsmith predict digits digit.png --option top_k=2",
    "marsmith stop",
)
CONTROL = re.compile(r"\x1b\[(\??[\d;]*)([A-Za-z])|([\r\n])")


def run(command: str, folder: Path, environment: dict[str, str]) -> str:
    """What a command shows on a terminal, as it stands there when the command has ended.

    Raises:
        RuntimeError: the command failed.
    """
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command.split(), cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = bytearray()
        while part := _read(ours):
            shown += part
    os.close(ours)
    text = screen(shown.decode("utf-8"))
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}: {text}")
    return text


def screen(written: str) -> str:
    """The lines that stand on a terminal after all that was written, colours among them."""
    lines, row, place = [""], 0, 0
    for match in CONTROL.finditer(written):
        lines[row] += written[place : match.start()]
        place = match.end()
        if match[3] == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif match[2] == "A":
            row = max(0, row - int(match[1] or 1))
        elif match[2] == "K":
            lines[row] = ""
        elif match[2] == "m":
            lines[row] += match[0]
    return "\n".join([*lines[:row], lines[row] + written[place:]]).rstrip()


def draw(shown: list[tuple[str, str]]) -> str:
    """A picture of commands and of what they have shown."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    for command, said in shown:
        console.print(f"[bold green]$[/] [bold]{command}[/]", highlight=False)
        console.print(Text.from_ansi(said))
    picture = console.export_svg(title="marsmith", unique_id="session")
    # The font is asked for elsewhere; what a reader has is good enough.
    return re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)


def main() -> None:
    """Run the session, and draw it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "archiver_configs").symlink_to(ROOT / "archiver_configs")
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {
            **os.environ,
            "PATH": path,
            "PYTHONPATH": str(ROOT),
            "TERM": "xterm-256color",
        }
        environment |= {"MARSMITH_STATE": str(folder / "state"), "COLUMNS": str(COLUMNS)}
        made = [sys.executable, "-m", "examples.digits", str(folder), "1"]
        digit = subprocess.run(made, cwd=ROOT, capture_output=True, text=True, check=True)
        Path(digit.stdout.strip()).rename(folder / "digit.png")
        shown = []
        for command in COMMANDS:
            said = run(command, folder, environment).replace(str(folder / "state"), STATE)
            shown.append((command, said))
    PICTURE.write_text(draw(shown), "utf-8")
    print(f"{PICTURE}: {PICTURE.stat().st_size:,} bytes")


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:  # Linux says so at the end of a terminal
        return b""


if __name__ == "__main__":
    main()
