"""Archives, hand-made and tiny, in TorchServe's real worker."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import textwrap
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from marsmith.errors import ArchiveError, ServerError
from marsmith.harness.telemetry import Metric
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness, _diagnose
from tests.support.forks import start_by

MANIFEST = {
    "runtime": "python",
    "model": {
        "modelName": "tiny",
        "modelVersion": "1.0",
        "handler": "tiny_handler.py",
        "configFile": "model-config.yaml",
    },
}

# Does what each request's X-Do header says; by default tells what arrived.
HANDLER = """
import json
import logging
import os
import sys
import time

from ts.handler_utils.utils import send_intermediate_predict_response


class Handler:
    def initialize(self, context):
        self.properties = context.system_properties
        logging.info("I am loaded")
        print("Größe", file=sys.stderr)

    def describe(self):
        return {
            "cwd": os.getcwd(),
            "properties": self.properties,
            "path": os.environ["PYTHONPATH"],
            "decode": os.environ["TS_DECODE_INPUT_REQUEST"],
            "extra": os.environ.get("TINY_EXTRA"),
        }

    def handle(self, data, context):
        if context.get_request_header(0, "describe") == "True":
            return [json.dumps(self.describe())]
        context.metrics.add_counter("Rows", len(data))
        return [self.row(index, row, context) for index, row in enumerate(data)]

    def row(self, index, row, context):
        todo = context.get_request_header(index, "X-Do")
        if todo == "echo":
            return bytes(row["body"])
        if todo == "refuse":
            context.set_response_status(422, "Not today", index)
            context.set_response_header(index, "X-Why", "because")
            context.set_response_content_type(index, "text/plain")
            return "no"
        if todo == "raise":
            raise ValueError("poison")
        if todo == "phrase":
            context.set_response_status(400, "Schön ist anders", index)
        if todo == "exit":
            # The fork holds the connection and the output open.
            child = os.fork()
            if child == 0:
                time.sleep(3600)
            logging.info("child %d", child)
            os._exit(3)
        if todo == "stream":
            ids = context.request_ids
            for part in ("one ", "two "):
                send_intermediate_predict_response([part], ids, "more", 200, context)
            return "three"
        if todo == "flood":
            print("x\\n" * 50_000, flush=True)
        if todo == "sleep":
            time.sleep(3600)
        return {name: [type(value).__name__, str(value)] for name, value in row.items()}
"""


def write_archive(path: Path, **files: str) -> Path:
    contents = {
        "MAR-INF/MANIFEST.json": json.dumps(MANIFEST),
        "model-config.yaml": "batchSize: 3\nmaxBatchDelay: 1\n",
        "tiny_handler.py": HANDLER,
        **{name.replace("__", "."): text for name, text in files.items()},
    }
    with zipfile.ZipFile(path, "w") as mar:
        for name, text in contents.items():
            mar.writestr(name, text)
    return path


@pytest.fixture(scope="module", autouse=True)
def _fresh() -> Iterator[None]:
    """Here each worker is a Python of its own, as a harness starts it by itself."""
    with pytest.MonkeyPatch.context() as patch:
        start_by(sys.executable, patch)
        yield


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_archive(tmp_path_factory.mktemp("store") / "tiny.mar")


@pytest.fixture(scope="module")
def harness(archive: Path) -> Iterator[Harness]:
    with Harness(archive, env={"TINY_EXTRA": "yes", "PYTHONPATH": "/of/the/host"}) as harness:
        yield harness


@pytest.fixture
def scratch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temp folder of its own, short enough for a socket: what is left in it was left over."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


def do(what: str, body: bytes = b"") -> Request:
    return Request.raw(body, headers={"X-Do": what})


def alive(pid: int) -> bool:
    """Whether a process runs; one that is dead and not yet reaped does not."""
    try:
        os.kill(pid, 0)
        stat = Path(f"/proc/{pid}/stat")
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def ends(pid: int) -> bool:
    """Whether a process is gone, or has been killed and goes as soon as the machine can."""
    deadline = time.monotonic() + 60
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not alive(pid)


def test_a_batch_goes_in_and_comes_back(harness: Harness) -> None:
    binary, text, mapping = harness.predict(
        [
            Request.raw(b"\x00\xff", "image/png"),
            Request.raw("é".encode(), "text/plain; charset=utf-8"),
            Request.json({"a": [1]}),
        ]
    )
    assert binary.json() == {"body": ["bytearray", "bytearray(b'\\x00\\xff')"]}
    assert text.json() == {"body": ["str", "é"]}
    assert mapping.json() == {"body": ["dict", "{'a': [1]}"]}
    assert (binary.status, binary.reason, binary.content_type) == (200, "", "")


def test_a_form_arrives_by_name(harness: Harness) -> None:
    (response,) = harness.predict([Request.form({"one": "1", "two": b"2"})])
    assert set(response.json()) == {"one", "two"}


def test_each_request_has_its_own_status_and_headers(harness: Harness) -> None:
    good, bad = harness.predict([do("echo", b"\x80"), do("refuse")])
    assert (good.status, good.body, good.headers) == (200, b"\x80", {})
    assert (bad.status, bad.reason, bad.body) == (422, "Not today", b"no")
    assert bad.content_type == "text/plain"
    assert bad.headers == {"X-Why": "because", "content-type": "text/plain"}


def test_large_bodies_pass(harness: Harness) -> None:
    body = os.urandom(5_000_000)
    (response,) = harness.predict([do("echo", body)])
    assert response.body == body


def test_a_stream_is_joined(harness: Harness) -> None:
    (response,) = harness.predict([do("stream")])
    assert (response.status, response.body) == (200, b"one two three")


def test_a_flood_of_output_blocks_nobody(harness: Harness) -> None:
    before = len(harness.log)
    (response,) = harness.predict([do("flood")])
    assert response.status == 200
    assert len(harness.log) - before > 50_000


def test_a_batch_that_fails_gives_all_the_frontends_error_and_the_worker_lives(
    harness: Harness,
) -> None:
    responses = harness.predict([do("echo"), do("raise")])
    assert [response.status for response in responses] == [503, 503]
    assert responses[0].json() == {
        "code": 503,
        "type": "InternalServerException",
        "message": "Prediction failed",
    }
    assert harness.predict([do("echo", b"still here")])[0].body == b"still here"
    assert "ValueError: poison" in harness.log


def test_the_worker_is_in_the_frontends_environment(harness: Harness) -> None:
    said = harness.describe()
    folder = said["cwd"]
    assert Path(folder).name == "model"
    assert said["path"].split(os.pathsep) == ["/of/the/host", folder, ""]
    assert (said["decode"], said["extra"]) == ("true", "yes")
    assert said["properties"]["model_dir"] == folder
    assert said["properties"]["gpu_id"] is None
    assert said["properties"]["batch_size"] == harness.batch_size == 3


def test_metrics_of_the_last_batch_are_there(harness: Harness) -> None:
    before = len(harness.metrics())
    harness.predict([do("echo"), do("echo")])
    rows, duration = harness.metrics()[before:]
    assert rows == Metric("Rows", 2.0, "Count", {"ModelName": "tiny", "Level": "Model"})
    assert (duration.name, duration.unit) == ("PredictionTime", "Milliseconds")


def test_the_log_has_both_streams_and_the_pid(harness: Harness) -> None:
    assert {"I am loaded", "Größe", f"[PID]{harness.pid}"} <= set(harness.log)
    assert alive(harness.pid)


def test_a_batch_has_a_size_and_each_request_an_id(harness: Harness) -> None:
    with pytest.raises(ValueError, match="0 requests"):
        harness.predict([])
    with pytest.raises(ValueError, match="4 requests; a batch has 1 to 3"):
        harness.predict([do("echo")] * 4)
    with pytest.raises(ValueError, match="same request_id"):
        harness.predict([do("echo")] * 2)


def test_a_worker_that_dies_is_an_error_and_its_children_go_too(
    archive: Path, scratch: Path
) -> None:
    with Harness(archive, batch_size=1) as harness:
        pid = harness.pid
        # Its child would keep the connection open for longer than the harness waits.
        with pytest.raises(ArchiveError, match="did not answer: it ended with exit status 3"):
            harness.predict([do("exit")])
        with pytest.raises(ArchiveError, match="not running"):
            harness.predict([do("echo")])
    (child,) = (int(line.split()[1]) for line in harness.log if line.startswith("child "))
    assert not alive(pid)
    assert ends(child)
    assert not list(scratch.iterdir())


def test_a_reason_phrase_that_shifts_the_frame_is_an_error_and_not_waited_for(
    archive: Path, scratch: Path
) -> None:
    with Harness(archive) as harness:
        pid = harness.pid
        with pytest.raises(ArchiveError, match="could not read the worker's answer") as caught:
            harness.predict([do("phrase"), do("echo")])
    assert "ASCII" in caught.value.hint
    assert "before its end" not in caught.value.message  # said of a frame that was waited for
    assert not alive(pid)
    assert not list(scratch.iterdir())


def test_a_folder_is_copied_and_a_stuck_worker_is_ended(
    archive: Path, scratch: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(archive) as mar:
        mar.extractall(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with Harness(tmp_path) as harness:
        pid = harness.pid
        harness.timeout_s = 0.3
        with pytest.raises(ArchiveError, match=r"did not answer within 0\.3 s"):
            harness.predict([do("sleep")])
        assert not alive(pid)
    assert sorted(tmp_path.rglob("*")) == before
    assert not list(scratch.iterdir())


def interrupted(harness: Harness) -> None:
    with harness:
        raise KeyboardInterrupt


def test_an_interrupt_leaves_nothing_behind_and_the_interpreter_can_be_chosen(
    archive: Path, scratch: Path, tmp_path: Path
) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho chosen >> "{tmp_path}/runs"\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    harness = Harness(archive, python=python)
    with pytest.raises(KeyboardInterrupt):
        interrupted(harness)
    (pid,) = (int(line[5:]) for line in harness.log if line.startswith("[PID]"))
    assert not alive(pid)
    assert (tmp_path / "runs").read_text().split() == ["chosen", "chosen"]
    assert not list(scratch.iterdir())


LOAD_FAILS = """
class Handler:
    def initialize(self, context):
        try:
            open("weights.bin")
        except OSError as error:
            raise RuntimeError("the weights are missing") from error

    def handle(self, data, context):
        return data
"""


@pytest.mark.parametrize(
    ("handler", "cause", "line"),
    [
        (LOAD_FAILS, "RuntimeError: the weights are missing", "in initialize"),
        (
            "import no_such_engine",
            "ModuleNotFoundError: No module named 'no_such_engine'",
            "line 1",
        ),
    ],
)
def test_a_failed_load_says_why(
    handler: str, cause: str, line: str, tmp_path: Path, scratch: Path
) -> None:
    path = write_archive(tmp_path / "broken.mar", tiny_handler__py=handler)
    harness = Harness(path)
    with pytest.raises(ArchiveError) as caught, harness:
        pass
    first, *excerpt = caught.value.message.splitlines()
    assert first == f"broken.mar does not load: {cause}"
    assert 1 < len(excerpt) <= 15
    assert any("tiny_handler.py" in text and line in text for text in excerpt)
    assert cause in excerpt
    assert "Backend worker process died." in harness.log
    assert not list(scratch.iterdir())


@pytest.mark.parametrize(
    ("name", "contents"),
    [
        ("../slipped.py", "x = 1"),
        ("/slipped.py", "x = 1"),
        ("a/../../slipped.py", "x = 1"),
    ],
)
def test_an_entry_outside_the_folder_is_refused(
    name: str, contents: str, tmp_path: Path, scratch: Path
) -> None:
    path = tmp_path / "slip.mar"
    with zipfile.ZipFile(path, "w") as mar:
        mar.writestr("MAR-INF/MANIFEST.json", json.dumps(MANIFEST))
        mar.writestr(name, contents)
    with pytest.raises(ArchiveError, match=r"slipped\.py' (is an absolute path|would lie outside)"):
        Harness(path).__enter__()
    assert not list(scratch.iterdir())


@pytest.mark.parametrize(
    ("manifest", "complaint"),
    [
        (None, "has no MAR-INF/MANIFEST.json"),
        ("{", "is no JSON"),
        ("[]", "is no object"),
        ("{}", "the model of MAR-INF/MANIFEST.json is no object"),
        (json.dumps({"model": {"modelName": "a", "modelVersion": "1"}}), "handler"),
        (json.dumps({**MANIFEST, "runtime": "LSP"}), "not Python"),
    ],
)
def test_an_archive_needs_a_manifest(
    manifest: str | None, complaint: str, tmp_path: Path, scratch: Path
) -> None:
    path = tmp_path / "bare.mar"
    with zipfile.ZipFile(path, "w") as mar:
        mar.writestr("tiny_handler.py", HANDLER)
        mar.writestr("model-config.yaml", "")
        if manifest is not None:
            mar.writestr("MAR-INF/MANIFEST.json", manifest)
    with pytest.raises(ArchiveError, match=complaint):
        Harness(path).__enter__()
    assert not list(scratch.iterdir())


def test_what_is_no_archive_is_refused(tmp_path: Path, scratch: Path) -> None:
    with pytest.raises(ArchiveError, match="there is no archive"):
        Harness(tmp_path / "none.mar").__enter__()
    (tmp_path / "text.mar").write_text("not a zip")
    with pytest.raises(ArchiveError, match="too short for a ZIP file"):
        Harness(tmp_path / "text.mar").__enter__()
    assert not list(scratch.iterdir())


def test_an_interpreter_without_torchserve_is_refused(archive: Path, scratch: Path) -> None:
    with pytest.raises(ServerError, match="no TorchServe") as caught:
        Harness(
            archive, python=sys.executable, env={"PYTHONPATH": "", "PYTHONHOME": "/x"}
        ).__enter__()
    assert "pip install" in caught.value.hint
    assert not list(scratch.iterdir())


METRIC_LINE = "[METRICS]Load.ms:12.5|#ModelName:a,Level:Model|#type:GAUGE|#hostname:h,1700000000"


@pytest.mark.parametrize(
    ("line", "metric"),
    [
        (METRIC_LINE, Metric("Load", 12.5, "ms", {"ModelName": "a", "Level": "Model"})),
        (
            METRIC_LINE + ",id-1,id-2",
            Metric("Load", 12.5, "ms", {"ModelName": "a", "Level": "Model"}),
        ),
        (
            METRIC_LINE.replace("12.5", "1e-05"),
            Metric("Load", 1e-5, "ms", {"ModelName": "a", "Level": "Model"}),
        ),
        ("[METRICS]n.Count:1|#|#hostname:h,1", Metric("n", 1.0, "Count", {})),
        (METRIC_LINE.replace("12.5", "1e+16"), None),
        ("[METRICS]Failed to update metric with name:n", None),
        ("a line about [METRICS]", None),
    ],
)
def test_a_metric_is_what_the_frontend_takes_for_one(line: str, metric: Metric | None) -> None:
    assert Metric.parse(line) == metric


def test_a_log_that_is_taken_is_empty_and_grows_again(tmp_path: Path) -> None:
    with Harness(write_archive(tmp_path / "tiny.mar")) as harness:
        assert any("I am loaded" in line for line in harness.take_log())
        assert harness.log == []
        for _ in range(2):
            harness.predict([Request.raw(b"x")])
            assert [metric.value for metric in harness.metrics() if metric.name == "Rows"] == [1]
            assert any("Rows" in line for line in harness.take_log())
        with pytest.raises(ArchiveError, match="exit status 3"):
            harness.predict([Request.raw(b"x", headers={"X-Do": "exit"})])
        assert harness.take_log() == []


def log(text: str) -> list[str]:
    return textwrap.dedent(text).strip().splitlines()


def test_the_diagnosis_is_the_last_exception_that_says_something() -> None:
    cause, excerpt = _diagnose(
        log(
            """
            loading
            Failed to load model tiny, exception several things:
            Traceback (most recent call last):
              File "handler.py", line 3, in initialize
            ValueError: several things:
            \tone
            Backend worker process died.
            Traceback (most recent call last):
              File "model_service_worker.py", line 1, in run_server
            RuntimeError: 500 - Unknown exception
            """
        )
    )
    assert cause == "ValueError: several things:"
    assert excerpt[-1].strip() == "one"


def test_without_an_exception_the_diagnosis_is_the_end_of_the_log() -> None:
    lines = [f"line {number}" for number in range(40)]
    assert _diagnose(lines) == ("", lines[-15:])
    assert _diagnose([]) == ("", [])
