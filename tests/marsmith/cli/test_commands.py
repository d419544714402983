from __future__ import annotations

import json
from pathlib import Path

import pytest

from examples.digits import main as write_samples
from marsmith import __version__
from marsmith.cli import new
from marsmith.serving.host.run_folder import ServerInfo
from tests.support.command import marsmith
from tests.support.hostile_archives import hostile
from tests.support.signing_keys import write_keys

SAMPLE = (
    "hidden: entry between", "lists: without sitecustomize.py", "imports: yaml.py",
    "sizes: said to be 3 GB", "kinds: symlink", "manifests: deep arrays", "configs: code",
)  # fmt: skip


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("samples")
    write_samples(folder, 3)
    return sorted(folder.iterdir())


def test_the_version_is_said() -> None:
    assert marsmith("--version").stdout == f"marsmith {__version__}\n"


def test_help_groups_the_commands_by_what_they_are_for() -> None:
    said = marsmith("-h").stdout
    titles = ["From a model to an archive", "Archives", "Servers"]
    places = [said.index(f" {title} ") for title in titles]
    assert places == sorted(places)
    assert places[0] < said.index(" build ") < places[1] < said.index(" serve ", places[2])


def test_build_says_its_steps_in_plain_lines(tmp_path: Path) -> None:
    recipe, *_ = new.write("tiny", "tabular", tmp_path)
    done = marsmith("build", recipe, "--model-store", tmp_path)
    assert done.stderr.splitlines()[0] == "make the model of tiny"
    assert "\x1b" not in done.stderr + done.stdout
    assert "archived" in done.stdout
    assert "sha256" in done.stdout


@pytest.mark.slow
def test_a_build_prints_its_report_as_json(digits_archive: Path) -> None:
    store = digits_archive.parent
    arguments = ["build", "archiver_configs/digits.yaml", "--model-store", store, "--json"]
    printed = json.loads(marsmith(*arguments).stdout)
    assert printed == json.loads((store / "digits.report.json").read_text())


def test_run_answers_several_inputs_as_one_batch(digits_archive: Path, samples: list[Path]) -> None:
    done = marsmith("run", digits_archive, *samples)
    for line, sample in zip(done.stdout.splitlines(), samples, strict=True):
        status, _, body = line.removeprefix(f"{sample}: ").partition(" ")
        assert status == "200"
        assert next(iter(json.loads(body))) == sample.stem[-1]


def test_run_fails_when_an_input_is_refused(digits_archive: Path, samples: list[Path]) -> None:
    done = marsmith("run", digits_archive, samples[0], "README.md", check=False)
    assert done.returncode == 1
    assert "415" in done.stdout
    assert f"{samples[0]}: 200" in done.stdout


def test_verify_says_it_in_json_too(digits_archive: Path) -> None:
    digest = json.loads(marsmith("inspect", digits_archive, "--json").stdout)["sha256"]
    assert json.loads(marsmith("verify", digits_archive, "--json").stdout) == {
        "archive": str(digits_archive), "sha256": digest, "listed": True, "signed_by": None,
    }  # fmt: skip


def test_inspect(digits_archive: Path) -> None:
    assert "accuracy" in marsmith("inspect", digits_archive).stdout
    found = json.loads(marsmith("inspect", digits_archive, "--json").stdout)
    assert found["manifest"]["model"]["modelName"] == "digits"


@pytest.mark.slow
def test_a_digest_behind_a_file_names_these_bytes(
    digits_archive: Path, samples: list[Path]
) -> None:
    digest = json.loads(marsmith("inspect", digits_archive, "--json").stdout)["sha256"]
    pinned = f"{digits_archive}@sha256:{digest}"
    assert marsmith("verify", pinned).stdout == f"{digits_archive}: sha256 {digest}\n"
    assert marsmith("run", pinned, samples[0]).returncode == 0
    for command in (["run", "{}", samples[0]], ["serve", "{}"], ["openapi", "{}"]):
        other = f"{digits_archive}@sha256:{'0' * 64}"
        done = marsmith(*(other if part == "{}" else part for part in command), check=False)
        assert done.returncode == 1
        assert f"its SHA-256 is {digest}, not 000" in done.stderr.replace("\n", "")


@pytest.mark.slow
@pytest.mark.parametrize("name", SAMPLE)
def test_no_command_runs_a_hostile_archive(name: str, tmp_path: Path) -> None:
    canary, archive = tmp_path / "canary", tmp_path / "small.mar"
    archive.write_bytes(next(data for each, data, _ in hostile(canary) if each == name))
    for command in (["inspect", archive], ["run", archive, archive], ["serve", archive]):
        done = marsmith(*command, check=False)
        assert done.returncode == 1
        assert "is not a sound model archive" in done.stderr
        assert "Traceback" not in done.stderr
        assert not canary.exists()


@pytest.mark.slow
def test_who_has_signed_is_asked_before_anything_starts(
    digits_archive: Path, tmp_path: Path
) -> None:
    pytest.importorskip("model_signing")
    key, public = write_keys(tmp_path, "shop")
    _, stranger = write_keys(tmp_path, "stranger")
    archive = tmp_path / "digits.mar"
    archive.write_bytes(digits_archive.read_bytes())
    assert f"wrote {archive}.sig" in marsmith("sign", archive, "--key", key).stdout
    again = json.loads(marsmith("sign", archive, "--key", key, "--json").stdout)
    assert again == {"signature": f"{archive}.sig"}
    assert "signed by" in marsmith("verify", archive, "--trust", public).stdout
    for command in ("verify", "serve"):
        done = marsmith(command, archive, "--trust", stranger, check=False)
        assert done.returncode == 1
        assert "signed by nobody who is trusted" in done.stderr


@pytest.mark.slow
def test_a_build_signs_what_it_makes(digits_archive: Path, tmp_path: Path) -> None:
    pytest.importorskip("model_signing")
    key, public = write_keys(tmp_path, "shop")
    recipe, store = "archiver_configs/digits.yaml", digits_archive.parent
    marsmith("build", recipe, "--model-store", store, "--sign", key)
    assert "signed by" in marsmith("verify", digits_archive, "--trust", public).stdout
    digits_archive.with_name("digits.mar.sig").unlink()
    done = marsmith("build", recipe, "--model-store", store, "--sign", public, check=False)
    assert "is no private key that can sign" in done.stderr


def test_status_and_predict(digits_server: ServerInfo, samples: list[Path]) -> None:
    port = ("--port", digits_server.port)
    found = json.loads(marsmith("status", "--json", *port).stdout)
    addresses = [f"{each}_address" for each in ("inference", "management", "metrics", "grpc")]
    keys = ["ready", "problems", *addresses, "key_file", "models"]
    assert list(found) == keys
    assert [model["name"] for model in found["models"]] == ["digits", "wide"]
    assert "READY" in marsmith("status", *port).stdout
    asked = marsmith("predict", "digits", *samples, "--option", "top_k=1", *port)
    answers = [list(json.loads(line)) for line in asked.stdout.splitlines()]
    assert answers == [[sample.stem[-1]] for sample in samples]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["build", "none.yaml"], "none.yaml can't be read"),
        (["inspect", "none.mar"], "there is no archive none.mar"),
        (["run", "README.md", "README.md"], "README.md"),
        (["verify", "digits.mar@sha256:abc"], "64 digits"),
        (["serve", "nope"], "nope"),
        (["predict", "digits", "none.png"], "none.png can't be read"),
        (["predict", "digits", "README.md", "--option", "x"], "must be name=value"),
        (["predict", "nope", "README.md"], "nope"),
        (["predict", "digits", "README.md"], "not an image"),
        (["stop", "--port", "1"], "no server of marsmith runs on port 1"),
    ],
)
def test_an_error_is_a_message_and_no_traceback(
    digits_server: ServerInfo, arguments: list[str], words: str
) -> None:
    port = ["--port", str(digits_server.port)] if arguments[0] == "predict" else []
    done = marsmith(*arguments, *port, check=False)
    assert done.returncode == 1
    assert words in done.stderr
    assert "error:" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_wrong_usage_is_status_2() -> None:
    assert marsmith("serve", "--bogus", check=False).returncode == 2
