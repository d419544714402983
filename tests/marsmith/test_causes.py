"""What the system or a user's code raises: a sentence and a place, never a traceback."""

from __future__ import annotations

import errno
import shutil
import sys
from pathlib import Path

import pytest

from marsmith.causes import explained, own_place
from marsmith.cli import commands
from marsmith.errors import RecipeError
from marsmith.recipe.references import resolve

MODULE = "import torch\n{top}\ndef model():\n    {body}\n"


def raised(folder: Path, body: str) -> BaseException:
    file = folder / "theirs.py"
    file.write_text(MODULE.format(top="", body=body))
    scope: dict[str, object] = {}
    exec(compile(file.read_text(), str(file), "exec"), scope)  # noqa: S102 - as an import does
    model = scope["model"]
    assert callable(model)
    try:
        model()
    except BaseException as error:
        return error
    raise AssertionError("it raised nothing")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise KeyError('w')", "your code raised KeyError: 'w'"),
        ("import sys; sys.exit(3)", "your code raised SystemExit: 3"),
        ("torch.nn.Linear(2, 3)(torch.ones(4))", "your code raised RuntimeError"),
        ("open('nowhere.csv')", "nowhere.csv: there is no such file"),
    ],
)
def test_code_of_their_own_is_shown_with_its_line(tmp_path: Path, body: str, words: str) -> None:
    said = explained(raised(tmp_path, body))
    assert said
    assert said.message.startswith(words)
    assert said.message.endswith(f"theirs.py, line 4: {body}")
    assert said.hint


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "permission is denied"),
        (errno.ENAMETOOLONG, "too long"),
        (errno.ENOENT, "there is no such file"),
        (errno.EIO, "input/output error"),
    ],
)
def test_what_the_system_refuses_is_one_sentence(number: int, words: str) -> None:
    said = explained(OSError(number, "strerror", "a" * 250))
    assert said
    assert words in said.message
    assert len(said.message) < 250
    assert said.hint


def test_engines_say_in_words_that_the_disk_is_full() -> None:
    copies = shutil.Error([("a", "b", "[Errno 28] No space left on device: 'b'")])
    openvino = RuntimeError("basic_ios::clear: iostream error")
    torch = RuntimeError("PytorchStreamWriter failed writing file data/0")
    for error in (copies, torch, openvino):
        said = explained(error)
        assert said
        assert said.message == "the disk is full"
    nowhere = explained(RuntimeError("Could not determine home directory."))
    assert nowhere
    assert "HOME" in nowhere.hint


def test_what_another_python_has_installed_is_not_their_code(tmp_path: Path) -> None:
    folder = tmp_path / "lib" / "site-packages"
    folder.mkdir(parents=True)
    assert "theirs.py" in own_place(raised(tmp_path, "raise SystemExit(0)"))
    assert "theirs.py" not in own_place(raised(folder, "raise SystemExit(0)"))


def test_a_fault_of_ours_stays_one() -> None:
    assert explained(KeyError("a fault")) is None
    assert own_place(SyntaxError("x", ("<string>", 1, 1, "x = = 1"))) == ""


@pytest.mark.parametrize(
    ("top", "words", "line"),
    [
        ("torch.nothing_here", "AttributeError: module 'torch' has no", "2: torch.nothing_here"),
        ("x = = 1", "SyntaxError", "2: x = = 1"),
        ("import not_there_at_all", "No module named", "2: import not_there_at_all"),
        ("raise SystemExit(3)", "SystemExit: 3", "2: raise SystemExit(3)"),
    ],
)
def test_an_import_that_fails_is_not_a_function_that_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, top: str, words: str, line: str
) -> None:
    (tmp_path / "failing_net.py").write_text(MODULE.format(top=top, body="pass"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "failing_net", raising=False)
    with pytest.raises(RecipeError) as caught:
        resolve("failing_net:model")
    assert words in caught.value.message
    assert caught.value.message.endswith(f"failing_net.py, line {line}")
    assert "there is no 'model'" not in caught.value.message


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="needs Linux's /proc")
def test_the_command_prints_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "name: r\ntask: image_classification\nsource: {factory: 'torch.nn:Identity'}\n"
    )
    with pytest.raises(SystemExit) as caught:
        commands.main(["build", str(recipe), "--model-store", "/proc/store"])
    told = capsys.readouterr().err
    assert caught.value.code == 1
    assert "Traceback" not in told
    assert "hint:" in told
