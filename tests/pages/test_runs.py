"""The blocks of README and docs/ that take long: builds, servers and rollouts, as they stand."""

from __future__ import annotations

import json
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
import torch

from examples.digits import held_out
from marsmith.cli import new
from marsmith.pipeline.build import build
from marsmith.recipe import reading
from marsmith.serving import server
from marsmith.serving.host.ports import choose_ports
from marsmith.serving.host.run_folder import ServerInfo
from pages import blocks
from tests.support import foreign_archives
from tests.support.certificates import certify
from tests.support.paths import ROOT
from tests.support.scripts import bash

pytestmark = pytest.mark.slow

# The models that pages ask, each as `marsmith new` writes one of its task.
MODELS = {"minilm": "text_embedding", "signatures": "question_answering"}
MODELS |= {"stdlib_gpt": "text_generation", "docstrings": "reranking"}


class Shell:
    """A folder with `digits`, in which servers have a port and a state of their own."""

    def __init__(self, folder: Path, archive: Path) -> None:
        self.folder = folder
        (folder / "model_store").mkdir()
        for made in archive.parent.glob("digits.*"):
            shutil.copy(made, folder / "model_store")
        (folder / "model_store" / ".cache").symlink_to(archive.parent / ".cache")
        shutil.copytree(ROOT / "archiver_configs", folder / "archiver_configs")
        self.image, self.label = held_out()[0]
        for name in ("cat.jpg", "dog.jpg", "digit.png", "pet.png"):
            (folder / name).write_bytes(self.image)
        text = (ROOT / "archiver_configs" / "digits.yaml").read_text("utf-8")
        (folder / "my_model.yaml").write_text(text.replace("name: digits", "name: my_model"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.environment = {"MARSMITH_STATE": str(folder / "state")}

    def run(self, script: str) -> str:
        """What a script prints."""
        script = script.replace("127.0.0.1:8080", f"127.0.0.1:{self.port}")
        script = re.sub(r"^marsmith serve", rf"\g<0> --port {self.port}", script, flags=re.M)
        return bash(script, self.folder, self.environment)


@pytest.fixture
def shell(digits_archive: Path, tmp_path: Path) -> Iterator[Shell]:
    made = Shell(tmp_path, digits_archive)
    try:
        yield made
    finally:
        made.run("marsmith stop || true")


def test_five_minutes_are_enough(shell: Shell) -> None:
    *steps, stop = [block.text for block in blocks.named("five minutes")]
    said = [shell.run(step) for step in steps]
    assert (shell.folder / "model_store" / "pets.report.html").is_file()
    for line in (said[2].rpartition("200 ")[2], said[3].splitlines()[-1], said[4]):
        assert "cat" in line
    python = blocks.one("five minutes in Python")
    assert "cat" in shell.run(f"python - <<'END'\n{python}END")
    shell.run(stop)
    assert "pets" not in bash("marsmith status 2>&1 || true", shell.folder, shell.environment)


def test_ones_own_model_in_short(shell: Shell) -> None:
    assert f'"{shell.label}"' in shell.run(blocks.one("in short"))


def test_the_commands_run(shell: Shell) -> None:
    assert f'{{"{shell.label}": ' in shell.run(blocks.one("commands"))
    assert (shell.folder / "model_store" / "my_model.cdx.json").is_file()


def test_the_same_from_python(shell: Shell) -> None:
    script = blocks.one("from Python")
    script = script.replace('serve("my_model")', f'serve("my_model", port={shell.port})')
    assert f"'{shell.label}'" in shell.run(f"python - <<'END'\n{script}END")


def test_candidates_are_tried_kept_and_served(shell: Shell) -> None:
    shell.run(blocks.one("candidates"))
    assert len(list((shell.folder / "model_store" / "my_model.candidates").glob("*.mar"))) > 0
    assert (shell.folder / "exported" / "model").is_dir() or any(
        (shell.folder / "exported").rglob("saved_model.pb")
    )


def test_a_load_is_measured_and_settings_are_found(shell: Shell) -> None:
    shell.run("marsmith serve digits")
    bench, tune = blocks.one("bench and tune").splitlines()
    # A busy machine is no bug: what can't be measured there is refused.
    said = shell.run(f"{bench} 2>&1 || test $? = 1")
    assert "p99" in said or "the load's generator lagged" in said
    shell.run("marsmith stop")
    said = shell.run(f"{tune} 2>&1 || test $? = 1")
    assert "the recipe's own" in said, said  # a row of the table
    assert " best" in said or "nothing was chosen" in said


def test_an_archive_of_somebody_else_is_read_and_adopted(shell: Shell) -> None:
    files: dict[str, str | bytes] = {
        "weights.pt": foreign_archives.scripted(foreign_archives.net()),
        "index_to_name.json": foreign_archives.index(),
    }
    made = foreign_archives.pack(
        shell.folder / "of_others", "image_classifier", files,
        model="weights.pt", extra=["index_to_name.json"],
    )  # fmt: skip
    shutil.copy(made, shell.folder / "theirs.mar")
    assert "image_classifier" in shell.run(blocks.one("adopt"))
    assert list((shell.folder / "theirs").glob("*.yaml"))


def test_a_pickle_is_looked_at_and_run_by_who_trusts_it(shell: Shell) -> None:
    torch.save(torch.nn.Linear(2, 3), shell.folder / "net.pt")
    look, trust = blocks.one("unpickle").splitlines()
    assert "Linear" in shell.run(f"{look} || test $? = 1")
    assert "model.safetensors" in shell.run(f"{trust} 2>&1")
    assert (shell.folder / "unpickled" / "model.safetensors").is_file()


def test_an_archive_is_signed_and_asked_for_it(shell: Shell) -> None:
    shell.run(blocks.one("signing"))
    assert (shell.folder / "model_store" / "digits.mar.sig").is_file()
    assert shell.label in shell.run("marsmith predict digits digit.png")


def test_tls_is_served(shell: Shell) -> None:
    certify(shell.folder)
    shell.run(blocks.one("keys and TLS").replace("0.0.0.0", "127.0.0.1"))
    ask = 'curl -f --max-time 60 --cacert cert.pem -H "Authorization: Bearer $(cat grafana.key)"'
    assert "marsmith_requests_total" in shell.run(f"{ask} https://127.0.0.1:8080/metrics")


def test_a_certificate_of_one_s_own_is_taken(shell: Shell) -> None:
    assert shell.label in shell.run(blocks.one("own certificate"))


def test_keys_are_made_shown_and_revoked(shell: Shell) -> None:
    shell.run(blocks.one("keys"))
    assert (shell.folder / "shop.key").stat().st_mode & 0o077 == 0
    assert "shop" not in shell.run("marsmith keys list")


def test_doctor_says_what_it_sees(shell: Shell) -> None:
    shutil.copy(ROOT / "config.properties", shell.folder)
    for line in blocks.one("doctor").splitlines():
        shell.run(f"{{ {line}\n}} >> said 2>&1 || test $? = 1")
    said = (shell.folder / "said").read_text("utf-8")
    assert "Traceback" not in said
    assert "torch" in said


def test_versions_are_rolled_out_and_back(shell: Shell) -> None:
    (shell.folder / "new").mkdir()
    recipe = reading.load(ROOT / "archiver_configs" / "digits.yaml")
    store = shell.folder / "newer"
    store.mkdir()
    (store / ".cache").symlink_to((shell.folder / "model_store" / ".cache").resolve())
    build(recipe.model_copy(update={"version": "1.1"}), store)
    shutil.copy(store / "digits.mar", shell.folder / "new")
    shell.run("marsmith serve digits")
    for block in blocks.named("a rollout"):
        assert "1.1" in shell.run(block.text)
        assert shell.label in shell.run("marsmith predict digits digit.png")


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory, server_state: Path) -> Iterator[ServerInfo]:
    """One server with every model of texts that a page asks."""
    folder = tmp_path_factory.mktemp("texts")
    for name, task in MODELS.items():
        written, *_ = new.write(name, task, folder)
        build(reading.load(written), folder / "store")
    info = server.serve([folder / "store" / f"{name}.mar" for name in MODELS], port=0)
    try:
        yield info
    finally:
        server.stop(info)


def asked(texts: ServerInfo) -> dict[str, str]:
    key = json.loads(texts.key_file.read_text())["inference"]["key"]
    return {"ADDRESS": texts.inference_address, "KEY": key}


def test_the_requests_of_texts_are_answered(texts: ServerInfo, tmp_path: Path) -> None:
    for block in blocks.named("requests of texts"):
        for command in re.split(r"^curl ", block.text, flags=re.MULTILINE)[1:]:
            curl = f"curl --fail-with-body -s --max-time 300 {command}"
            lines = bash(curl, tmp_path, asked(texts)).splitlines()
            assert all("error" not in json.loads(line) for line in lines)
            assert lines


def test_a_client_of_openais_is_answered(texts: ServerInfo) -> None:
    script = blocks.one("OpenAI's client").rstrip()
    *first, last = script.splitlines()
    names: dict[str, object] = {"openai": openai, **asked(texts)}
    exec("\n".join([*first, f"answer = {last}"]), names)  # noqa: S102 - it is the page's
    answer = names["answer"]
    assert isinstance(answer, openai.types.CreateEmbeddingResponse)
    assert [each.index for each in answer.data] == [0, 1]


def test_torchserve_alone_serves(digits_archive: Path, tmp_path: Path) -> None:
    (tmp_path / "model_store").mkdir()
    shutil.copy(digits_archive, tmp_path / "model_store")
    text = (ROOT / "config.properties").read_text("utf-8")
    ports = dict(zip(choose_ports(8080).numbers(), choose_ports(0).numbers(), strict=True))
    for usual, free in ports.items():
        text = re.sub(rf"\b{usual}\b", str(free), text)
    (tmp_path / "config.properties").write_text(text)
    (tmp_path / "digit.png").write_bytes(held_out()[0][0])
    start = blocks.one("TorchServe alone").rstrip()  # or its output is this script's
    ask = f"""
    for attempt in $(seq 300); do
      KEY=$(python -c 'import json; print(json.load(open("key_file.json"))["inference"]["key"])' \
        2>/dev/null) && curl -s --fail --max-time 10 -H "Authorization: Bearer $KEY" \
        http://127.0.0.1:{ports[8080]}/predictions/digits -T digit.png && break
      sleep 1
    done
    """
    environment = {"TEMP": str(tmp_path), "TMPDIR": str(tmp_path)}
    short = {"LOG_LOCATION": str(tmp_path / "logs"), "METRICS_LOCATION": str(tmp_path / "logs")}
    try:
        printed = bash(f"{start} > console.log 2>&1\n{ask}", tmp_path, environment | short)
    finally:
        bash("torchserve --stop", tmp_path, environment)
    assert held_out()[0][1] in printed
