"""What all tests share: archives built once, one server, and a state folder of their own."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Generator, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import hypothesis
import pytest
from filelock import FileLock

# Before torch is imported: tests keep both cores busy. See docs/architecture.md.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# A server of a test lives too briefly for what Java's second compiler costs to come back.
os.environ.setdefault("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1")

with warnings.catch_warnings():  # TorchServe leaves a file open as it is imported
    warnings.simplefilter("ignore", ResourceWarning)
    import ts  # noqa: F401

from marsmith.cli import new
from marsmith.pipeline import candidates, timing
from marsmith.pipeline.build import build
from marsmith.recipe import reading, sections
from marsmith.serving import server
from marsmith.serving.host.run_folder import ServerInfo
from tests.support.forks import forking, instead_of_python, start_by
from tests.support.paths import ROOT

PROCESS = os.environ.get("PYTEST_XDIST_WORKER", "")
"""Of the processes that share the tests, this one."""


def pytest_configure(config: pytest.Config) -> None:
    # What a shell starts in the background ignores Ctrl-C, and so does all that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # A busy machine is no bug: no example fails for having taken long.
    slow = [hypothesis.HealthCheck.too_slow]
    hypothesis.settings.register_profile("marsmith", deadline=None, suppress_health_check=slow)
    hypothesis.settings.load_profile("marsmith")
    # Builds take whichever form looks fastest: no test asks how sure that is.
    timing.ROUNDS, timing.MOST_ROUNDS, timing.TURN_SECONDS = 3, 3, 0.02
    # With nothing in it, jsonschema asks of no IRI whether it is one, as no test does; with what
    # is in it, each process takes four seconds more to begin.
    sys.modules["rfc3987_syntax"] = ModuleType("rfc3987_syntax")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    """With --dist loadfile, some files go to one process, as `unit` says, in the order of tests."""
    from xdist.scheduler import LoadFileScheduling

    class ByUnit(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return unit(super()._split_scope(nodeid))

    config.option.loadscopereorder = False
    return ByUnit(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Of two processes one collects from the end: no file of tests is compiled by both."""
    report = yield
    if PROCESS == "gw1" and isinstance(collector, pytest.Directory):
        report.result.reverse()
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Processes that share tests begin with what takes long, so that they end together."""
    if PROCESS:
        items.sort(key=lambda item: (rank(item.nodeid.partition("::")[0]), item.path))


@cache
def unit(file: str) -> str:
    """What a file of tests is done with, by one process: what they share costs seconds."""
    text = (ROOT / file).read_text("utf-8")
    if "digits_server" in text or "tiny_server" in text:
        return "servers"
    return "transformers" if "transformers" in text else file


@cache
def rank(file: str) -> int:
    """When the tests of a file are done: those that share something, those that start something."""
    if unit(file) != file:
        return 0
    text = (ROOT / file).read_text("utf-8")
    return 1 if re.search(r"\b(build|fuzz|Harness|marsmith|run|serve)\(", text) else 2


@pytest.fixture(scope="session", autouse=True)
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A harness starts its worker as a server does, by a fork of what has imported torch.

    A Python of its own, which a harness starts by itself, is tested with it.
    """
    folder = tmp_path_factory.mktemp("f")
    with forking(folder) as forks, pytest.MonkeyPatch.context() as patch:
        start_by(instead_of_python(forks), patch)
        yield


@pytest.fixture(scope="session")
def digits_recipe() -> sections.Recipe:
    """The recipe that ships."""
    return reading.load(ROOT / "archiver_configs" / "digits.yaml")


@pytest.fixture(scope="session")
def store(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model store for the session; pytest's cache keeps the trained weights for the next."""
    folder = tmp_path_factory.mktemp("store")
    (folder / ".cache").symlink_to(pytestconfig.cache.mkdir("trained"))
    return folder


def shared(recipe: sections.Recipe, store: Path, everywhere: Path) -> Path:
    """The archive of a recipe, built once for all processes that test, in this one's store."""
    everywhere.mkdir(exist_ok=True)
    with FileLock(everywhere / f"{recipe.name}.lock"):
        if not (everywhere / f"{recipe.name}.mar").exists():
            build(recipe, store)
            for made in store.glob(f"{recipe.name}.*"):
                shutil.copy2(made, everywhere)
            return store / f"{recipe.name}.mar"
    for made in everywhere.glob(f"{recipe.name}.*"):
        if made.suffix != ".lock":
            shutil.copy2(made, store)
    return store / f"{recipe.name}.mar"


@pytest.fixture(scope="session")
def everywhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of the session have."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if PROCESS else base


@pytest.fixture(scope="session")
def digits_archive(digits_recipe: sections.Recipe, store: Path, everywhere: Path) -> Path:
    """`digits.mar`, as `marsmith build` makes it; training takes some 10 s."""
    return shared(digits_recipe, store, everywhere / "archives")


@pytest.fixture(scope="session")
def wide_archive(
    digits_recipe: sections.Recipe, digits_archive: Path, store: Path, everywhere: Path
) -> Path:
    """The same model as `wide`, whose batches of 8 wait for each other on the slowest machine."""
    serving = sections.Serving(batch_size=8, max_batch_delay_ms=3000)
    wide = digits_recipe.model_copy(update={"name": "wide", "serving": serving})
    return shared(wide, store, everywhere / "archives")


@pytest.fixture(scope="session")
def make_shipped_archive(store: Path, everywhere: Path) -> Callable[[str], Path]:
    """Make a shipped recipe's archive, of its first candidate, for one worker of one thread."""

    def make(name: str) -> Path:
        recipe = reading.load(ROOT / "archiver_configs" / f"{name}.yaml")
        first = candidates.only(recipe, [str(candidates.wanted(recipe)[0])])
        serving = recipe.serving.model_copy(update={"min_workers": 1})
        made = {"handler": {**recipe.handler, "threads": 1}, "serving": serving}
        return shared(first.model_copy(update=made), store, everywhere / "shipped")

    return make


@pytest.fixture(scope="session")
def server_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the servers of the tests apart from those of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        state = tmp_path_factory.mktemp("state")
        patch.setenv("MARSMITH_STATE", str(state))
        yield state


@pytest.fixture(scope="session")
def digits_server(
    digits_archive: Path, wide_archive: Path, server_state: Path
) -> Iterator[ServerInfo]:
    """TorchServe with digits and wide; tests leave it as they found it."""
    info = server.serve([digits_archive, wide_archive], port=0, grpc=True)
    try:
        yield info
    finally:
        server.stop(info)


@pytest.fixture(scope="session")
def make_new_archive(everywhere: Path) -> Callable[[str], Path]:
    """Make the archive of what `marsmith new` writes for a task: tiny, with random weights."""

    def make(task: str) -> Path:
        folder = everywhere / "new_archives"
        folder.mkdir(exist_ok=True)
        store = folder / f"store_{task}"
        found = store / f"new_{task}.mar"
        with FileLock(folder / f"{task}.lock"):
            if not found.exists():
                written, *_ = new.write(f"new_{task}", task, folder)
                build(reading.load(written), store)
        return found

    return make


@pytest.fixture(scope="session")
def new_archives(make_new_archive: Callable[[str], Path]) -> dict[str, Path]:
    """Of each task, the archive of what `marsmith new` writes.

    Processes that test share them: each builds what no other has, the second from the end.
    """
    return {task: make_new_archive(task) for task in sorted(new.tasks(), reverse=PROCESS == "gw1")}
