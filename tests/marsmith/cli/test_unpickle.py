"""A module that was pickled whole: what it names is shown, and only with trust is it run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.support.paths import ROOT

NET = """
    import socket
    import torch

    class Net(torch.nn.Module):
        def __init__(self, stride=1, scale=1.0):
            super().__init__()
            self.conv, self.scale = torch.nn.Conv2d(3, 4, 3, stride=stride), scale

        def forward(self, image):
            return self.conv(image).mean((2, 3)) * self.scale

        def __setstate__(self, state):
            super().__setstate__(state)
            try:
                socket.create_connection(("127.0.0.1", int(open("port").read())), 5).close()
                print("it was reached", file=open("reached", "w"))
            except OSError:
                pass

    class Free(Net):
        def forward(self, *images, **more):
            return super().forward(*images)
    """
SAVE = """
import sys, torch, my_net
arguments = dict(each.split("=") for each in sys.argv[3:])
module = getattr(my_net, sys.argv[1])(**{name: int(each) for name, each in arguments.items()})
torch.save({"model": module, "ema": module} if "dict" in sys.argv[2] else module, sys.argv[2])
"""


class Harmful:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("made",)


def marsmith(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command in a user's folder."""
    return python(folder, "-m", "marsmith.cli", *arguments)


def python(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=600, check=False,
    )  # fmt: skip


@pytest.fixture
def project(tmp_path: Path) -> Path:
    lines = [line.removeprefix("    ") for line in NET.splitlines()]
    (tmp_path / "my_net.py").write_text("\n".join(lines))
    (tmp_path / "port").write_text("1")
    return tmp_path


def save(project: Path, name: str, kind: str = "Net", *arguments: str) -> None:
    done = python(project, "-c", SAVE, kind, name, *arguments)
    assert done.returncode == 0, done.stderr


def test_nothing_is_run_before_it_is_trusted(project: Path) -> None:
    save(project, "a net.pt")
    refused = marsmith(project, "build", "a net.pt", "--task", "image_classification")
    assert refused.returncode == 1
    command = "marsmith unpickle --i-trust-this 'a net.pt' --out 'a net_unpickled'"
    assert command in refused.stderr
    shown = marsmith(project, "unpickle", "a net.pt")
    assert shown.returncode == 1
    assert "nothing was run" in shown.stderr
    assert command in shown.stderr
    lines = {line.split()[0]: line for line in shown.stdout.splitlines()}
    assert f"called  your own: {project / 'my_net.py'}" in lines["my_net.Net"]
    assert "a layer of torch's" in lines["torch.nn.modules.conv.Conv2d"]
    assert sorted(each.name for each in project.glob("a net*")) == ["a net.pt"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "arguments", "next_step"),
    [
        ("Net", (), "out/model.safetensors --factory my_net:Net --task TASK"),
        ("Net", ("stride=2",), "out/model.pt --task TASK"),
        ("Net", ("scale=2",), "out/model.pt --task TASK"),
        ("Free", ("scale=2",), "out/model.safetensors --factory my_module:make --task TASK"),
    ],
)
def test_what_it_becomes_can_be_built(
    project: Path, kind: str, arguments: tuple[str, ...], next_step: str
) -> None:
    save(project, "net.pt", kind, *arguments)
    done = marsmith(project, "unpickle", "--i-trust-this", "net.pt", "--out", "out")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"next: marsmith build {next_step}"
    if kind == "Free":
        return
    command = next_step.replace("TASK", "image_classification").split()
    built = marsmith(project, "build", *command, "--out", "recipe.yaml", "--json")
    assert built.returncode == 0, built.stderr
    assert (project / "model_store" / "model.mar").is_file()
    module = torch.jit.load(str(project / "out" / "model.pt")) if "pt --task" in next_step else None
    if module is not None:
        code = "import torch; print(torch.load('net.pt', weights_only=False)"
        code += "(torch.ones(1, 3, 8, 8)).tolist())"
        said = python(project, "-c", code).stdout
        own = torch.tensor(eval(said))  # noqa: S307 - a list of numbers, of the test's own
        torch.testing.assert_close(module(torch.ones(1, 3, 8, 8)), own)


@pytest.mark.slow
def test_it_runs_without_network_or_says_so(project: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        (project / "port").write_text(str(server.getsockname()[1]))
        save(project, "net.pt")
        done = marsmith(project, "unpickle", "--i-trust-this", "net.pt", "--out", "out")
    assert done.returncode == 0, done.stderr
    assert ("WITH the network" in done.stderr) == (project / "reached").exists()
    assert ("without network" in done.stderr) != (project / "reached").exists()
    again = marsmith(project, "unpickle", "--i-trust-this", "net.pt", "--out", "out")
    assert "must be an empty folder" in again.stderr


@pytest.mark.slow
def test_of_several_modules_one_is_named(project: Path) -> None:
    save(project, "dict.pt")
    done = marsmith(project, "unpickle", "--i-trust-this", "dict.pt", "--out", "out")
    assert done.returncode == 1
    assert "--key names one of them: model, ema" in done.stderr
    named = marsmith(
        project, "unpickle", "--i-trust-this", "dict.pt", "--out", "out", "--key", "ema", "--json"
    )
    assert named.returncode == 0, named.stderr
    said = json.loads(named.stdout)
    assert (said["class"], said["folder"]) == ("my_net:Net", "out")


def test_what_does_harm_is_not_run_even_then(project: Path) -> None:
    torch.save(Harmful(), project / "net.pt")
    done = marsmith(project, "unpickle", "--i-trust-this", "net.pt", "--out", "out", "--json")
    assert done.returncode == 1
    assert "mkdir, which no model needs: it is not run" in done.stderr
    found = json.loads(done.stdout)
    assert "mkdir, which no model needs" in found["error"]
    (name,) = found["names"].values()
    assert name["called"]
    assert name["origin"].startswith("HARMFUL")
    assert not (project / "made").exists()
    assert not (project / "out").exists()


@pytest.mark.slow
def test_a_class_of_a_script_that_is_gone_says_what_to_do(project: Path) -> None:
    script = (project / "my_net.py").read_text() + "\ntorch.save(Net(), 'net.pt')\n"
    (project / "train.py").write_text(script)
    assert python(project, "train.py").returncode == 0
    done = marsmith(project, "unpickle", "--i-trust-this", "net.pt", "--out", "out")
    assert "LOOK: of the script or notebook that saved it" in done.stdout
    assert "--factory my_module:make" in done.stderr


def test_what_is_no_pickle_is_said(project: Path) -> None:
    done = marsmith(project, "unpickle", "my_net.py")
    assert "my_net.py is not a pickle" in done.stderr
