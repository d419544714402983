"""What TorchServe and its workers log, as lines of JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from marsmith.cli import new
from marsmith.errors import ServerError
from marsmith.pipeline.build import build
from marsmith.recipe import reading
from marsmith.serving import server
from tests.support.servers import authorization
from tests.support.waiting import wait_until

ROW = {"age": 31, "income": 2800, "town": "Oslo"}
HANDLER = '''
import logging

from handlers.tasks.tabular import Tabular


class NoisyHandler(Tabular):
    """Prints, logs, and fails at whoever is 99."""

    def answer(self, outputs, samples):
        if any(sample.meta == 99 for sample in samples):
            raise KeyError("nobody is 99")
        return super().answer(outputs, samples)

    def decode(self, instance, options):
        sample = super().decode(instance, options)
        if instance["age"] in (98, 99):
            print('printed: "quoted" \\\\ ü')
            logging.getLogger("mine").warning("look at %s", instance["age"])
            object.__setattr__(sample, "meta", instance["age"])
        return sample
'''


def lines(log: Path) -> list[Any]:
    """The objects of a log, each of which is one line."""
    return [json.loads(line) for line in log.read_text("utf-8").splitlines()]


@pytest.mark.slow
def test_every_line_is_an_object_that_says_of_whom_it_is(
    tmp_path: Path, make_tiny_archive: Callable[..., Path], server_state: Path
) -> None:
    recipe, _, handler = new.write("noisy", "tabular", tmp_path, custom=True)
    handler.write_text(HANDLER)
    build(reading.load(recipe), tmp_path / "store")
    with server.serve([tmp_path / "store" / "noisy.mar"], port=0, log_format="json") as started:
        (worker,) = started.status().models[0].workers
        for age, status in ((98, 200), (99, 500)):
            answer = httpx.post(
                f"{started.inference_address}/predictions/noisy",
                json={**ROW, "age": age},
                headers={"Authorization": authorization(started), "X-Request-Id": f"of-{age}"},
                timeout=60,
            )
            assert answer.status_code == status
        model = started.logs / "model.log"
        wait_until(lambda: "nobody is 99" in model.read_text())
        failed, *again = (line for line in lines(model) if line.get("stack"))  # it is sent again
        assert all(each["request_ids"] == ["of-99"] for each in (failed, *again))
        assert failed["stack"].startswith("Traceback")
        assert failed["stack"].endswith("KeyError: 'nobody is 99'\n")
        told = {key: failed[key] for key in ("level", "model", "version", "pid", "message")}
        assert told == {
            "level": "ERROR", "model": "noisy", "version": "1.0", "pid": worker.pid,
            "message": "the handler failed",
        }  # fmt: skip
        assert failed["time"].endswith("Z")
        looks = [line for line in lines(model) if line["logger"] == "mine"]
        assert {(line["message"], *line["request_ids"]) for line in looks} >= {
            ("look at 98", "of-98"), ("look at 99", "of-99"),
        }  # fmt: skip
        printed = [line for line in lines(model) if line["message"].startswith("printed")]
        assert printed[0]["message"] == 'printed: "quoted" \\ ü'
        assert (printed[0]["model"], printed[0]["version"]) == ("noisy", "1.0")
        lines(started.logs / "ts.log")
    with pytest.raises(ServerError, match=r"weights\.bin is not there"):  # it is read in these
        server.serve([make_tiny_archive("broken", fail="runtime")], port=0, log_format="json")
