"""`--json`: of every command, one document or lines, which any JSON reader takes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from marsmith.cli import commands
from marsmith.cli.json_output import OPTION
from tests.support.sample_reports import data, make

PRINTS_JSON_ANYWAY = {"sbom", "openapi", "predict"}


def walk(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every command that does something, by what is typed for it."""
    inner = getattr(command, "commands", None)  # typer may bring a click of its own
    if inner is None:
        yield name, command
        return
    for part, each in inner.items():
        yield from walk(each, f"{name} {part}".strip())


COMMANDS = dict(walk(get_command(commands.app)))


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - PRINTS_JSON_ANYWAY))
def test_every_command_can_answer_in_json(name: str) -> None:
    assert any(OPTION in parameter.opts for parameter in COMMANDS[name].params)


def strictly(text: str) -> Any:
    def refuse(word: str) -> object:
        raise ValueError(f"{word} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_a_number_that_json_does_not_have_is_null(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, *others = data()["ladder"]
    report = make(ladder=[{**first, "spread": math.inf}, *others], seconds={"a": math.nan})
    file = tmp_path / "a.report.json"
    file.write_text(json.dumps(report.model_dump()))
    with pytest.raises(SystemExit):
        commands.main(["report", str(file), OPTION])
    printed = strictly(capsys.readouterr().out)
    assert printed["ladder"][0]["spread"] is None
    assert printed["seconds"] == {"a": None}


def test_an_error_is_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        commands.main(["tasks", "image_clasification", OPTION])
    said = capsys.readouterr()
    assert ended.value.code == 1
    assert "image_classification" in strictly(said.out)["error"]
    assert "error: " in said.err
