"""The life of a worker, with a task and a model that fail in every way they can."""

from __future__ import annotations

import gc
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from ts.context import Context, RequestProcessor

from handlers import base
from handlers.errors import BadRequest, HandlerError, LoadError
from handlers.explanations import Explainer
from handlers.protocols.exchange import Exchange
from handlers.runtimes import Tensors
from handlers.schema import setting
from handlers.task import Answer, Config, Sample
from tests.support.metrics_lines import reported


@dataclass(frozen=True, kw_only=True)
class Times:
    times: int = setting(1, "What to multiply with.", minimum=1)


@dataclass(frozen=True)
class Product(Answer):
    value: float


RAISED: dict[object, BaseException] = {
    "bug": KeyError("s3cret"),
    "exit": SystemExit(3),
    "interrupt": KeyboardInterrupt("s3cret"),
}


class Doubler(base.Handler[Config, Times, None]):
    """Doubles a number; its model fails at 13, and is infinite at 14."""

    Options = Times
    Answer = Product

    def decode(self, instance: Any, options: Times) -> Sample[Times, None]:
        if instance in RAISED:
            raise RAISED[instance]
        try:
            return Sample({"x": torch.tensor([float(instance)])}, options, None)
        except (TypeError, ValueError):
            raise BadRequest("not a number", status=422) from None

    def answer(self, outputs: Tensors, samples: Any) -> list[Product]:
        if 32 in outputs["y"]:
            raise KeyboardInterrupt
        pairs = zip(outputs["y"].flatten().tolist(), samples, strict=True)
        return [Product(value * sample.options.times) for value, sample in pairs]

    def example(self) -> tuple[str, bytes]:
        return "text/plain", b"1"

    def describe_input(self) -> dict[str, Any]:
        return {"number": "any"}


def model(inputs: Tensors) -> Tensors:
    if 13 in inputs["x"]:
        raise RuntimeError("s3cret: superstition")
    if 15 in inputs["x"]:
        sys.exit("s3cret")
    return {"y": inputs["x"] * torch.where(inputs["x"] == 14, torch.inf, 2.0)}


@pytest.fixture(autouse=True)
def untouched() -> Iterator[None]:
    """Put back what a worker may change, having its process for itself."""
    root, threads = logging.getLogger(), torch.get_num_threads()
    level, filters = root.level, list(root.filters)
    with warnings.catch_warnings(), mock.patch.dict(os.environ):
        yield
    root.setLevel(level)
    root.filters = filters
    torch.set_num_threads(threads)


def context(folder: Path, batch_size: int = 4, **section: Any) -> Context:
    (folder / "model.pt").touch()
    manifest = {"model": {"modelVersion": "1.0", "serializedFile": "model.pt"}}
    config = {"minWorkers": 1, "handler": {"task": "doubler", **section}}
    return Context("doubler", str(folder), manifest, batch_size, None, "1", True, None, config)


@pytest.fixture
def doubler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Doubler:
    monkeypatch.setattr("handlers.runtimes.torchscript.load", lambda path, device: model)
    handler = Doubler()
    handler.initialize(context(tmp_path, defaults={"times": 3}))
    return handler


def served(handler: Doubler, rows: int, headers: list[dict[str, Any]] | None = None) -> Any:
    """The handler's context, with a batch of so many rows."""
    context: Any = handler.context
    context.request_processor = [RequestProcessor(each) for each in headers or [{}] * rows]
    return context


def answers(
    handler: Doubler, rows: list[Any], headers: list[dict[str, Any]] | None = None
) -> list[tuple[int, Any]]:
    context = served(handler, len(rows), headers)
    bodies = handler.handle([{"body": row} for row in rows], context)
    statuses = [context.get_response_status(index)[0] for index in range(len(rows))]
    return [(status, json.loads(body)) for status, body in zip(statuses, bodies, strict=True)]


def test_a_worker_is_ready_and_quiet_when_it_has_loaded(
    doubler: Doubler, capfd: pytest.CaptureFixture[str]
) -> None:
    assert doubler.initialized
    assert logging.getLogger().level == logging.WARNING
    assert capfd.readouterr().out == ""


def test_each_row_is_answered_with_its_own_options(doubler: Doubler) -> None:
    rows = [{"data": 5}, {"data": 5, "parameters": {"times": 1}}, {"instances": [1, 2]}]
    assert answers(doubler, rows) == [
        (200, {"value": 30}),
        (200, {"value": 10}),
        (200, {"predictions": [{"value": 6}, {"value": 12}]}),
    ]


def test_no_failure_reaches_a_neighbour(
    doubler: Doubler, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["1", "bug", "x", "13", "14", {"instances": [2, 13]}, {"instances": [2, "x"]}, "2"]
    found = answers(doubler, rows)
    assert [status for status, _ in found] == [200, 500, 422, 500, 500, 500, 422, 200]
    assert (found[0][1], found[-1][1]) == ({"value": 6}, {"value": 12})
    assert found[4][1]["error"] == "the model's answer is not finite"
    assert found[5][1]["error"].startswith("instance 1: ")
    assert "s3cret" not in str(found)
    assert "s3cret" in caplog.text
    said = reported(capsys.readouterr().out)
    counts = dict(said)
    assert len(counts) == len(said)
    assert counts["RefusedRequests"] == 2
    assert counts["FailedRequests"] == 4


@pytest.mark.parametrize("row", ["bug", "exit", "interrupt", 13, 15, 16], ids=str)
def test_code_that_ends_the_worker_fails_its_own_request(doubler: Doubler, row: object) -> None:
    found = answers(doubler, [1, row, 2])
    assert [status for status, _ in found] == [200, 500, 200]
    assert "s3cret" not in str(found)
    assert answers(doubler, [3])[0] == (200, {"value": 18})


def test_a_worker_without_threads_decodes_one_after_the_other(doubler: Doubler) -> None:
    assert doubler.pool
    doubler.pool.shutdown()
    found = answers(doubler, ["1" + " " * base.PARALLEL_BYTES, "exit", "2"])
    assert [status for status, _ in found] == [200, 500, 200]


def test_code_that_ends_the_worker_as_it_loads_is_a_load_error(tmp_path: Path) -> None:
    class Ends(Doubler):
        def setup(self, folder: Path) -> None:
            sys.exit(1)

    with pytest.raises(LoadError, match="SystemExit"):
        Ends().initialize(context(tmp_path))


def test_a_large_batch_is_decoded_by_the_pool(doubler: Doubler) -> None:
    rows = ["1" + " " * base.PARALLEL_BYTES, "2", "x", "3"]
    assert [status for status, _ in answers(doubler, rows)] == [200, 200, 422, 200]


def test_describe_and_explain_are_each_rows_own(doubler: Doubler) -> None:
    headers = [{"describe": "True"}, {"explain": "True"}, {"describe": "False"}, {"body": "x"}]
    (_, described), explained, *rest = answers(doubler, ["1"] * 4, headers)
    assert described["input"] == {"number": "any"}
    assert described["options"]["properties"]["times"]["minimum"] == 1
    assert explained[0] == 400
    assert rest == [(200, {"value": 6})] * 2


class Slow(Doubler, Explainer[None]):
    """Explaining takes all the time that a batch has."""

    Explanation = Product

    def explainer(self) -> Explainer[None]:
        return self

    def targets(self, outputs: Tensors, samples: Any) -> torch.Tensor:
        self.until = 0.0
        return torch.zeros(len(samples), dtype=torch.int64)

    def explanation(self, attributions: Tensors, targets: torch.Tensor, samples: Any) -> Any:
        raise NotImplementedError


def test_an_explanation_takes_no_predictions_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handlers.runtimes.torchscript.load", lambda path, device: model)
    handler = Slow()
    handler.initialize(context(tmp_path))
    found = answers(handler, ["1", "2", "3"], [{"explain": "True"}, {}, {}])
    assert found[0][0] == 503
    assert found[1:] == [(200, {"value": 4}), (200, {"value": 6})]


def test_a_task_that_cannot_describe_itself_fails_alone(
    doubler: Doubler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubler, "describe_input", lambda: {"number": float("nan")})
    found = answers(doubler, ["1", "2"], [{"describe": "True"}, {}])
    assert [status for status, _ in found] == [500, 200]


def test_a_content_type_that_is_not_text_is_none(doubler: Doubler) -> None:
    headers: list[dict[str, Any]]
    headers = [{"body": {"content-type": None}}, {"body": {}}, {"body": None}]
    assert [status for status, _ in answers(doubler, [b"1", b"1", b"1"], headers)] == [200] * 3


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"runtime": "onxn"}, r"'onxn' is not .* 'runtime'; did you mean 'onnx'.*eager, .*torchs"),
        ({"runtime_options": {"speed": 9}}, "runtime_options don't fit the runtime 'torchscript'"),
        ({"defaults": {"times": 0}}, "'times' in handler.defaults must be at least 1"),
        ({"max_answer_bytes": 2}, "its own example request failed: .*at most 2 are allowed"),
    ],
)
def test_what_is_wrong_is_said_as_it_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: dict[str, Any], words: str
) -> None:
    monkeypatch.setattr("handlers.runtimes.torchscript.load", lambda path, device: model)
    with pytest.raises(LoadError, match=words):
        Doubler().initialize(context(tmp_path, **section))


@pytest.mark.parametrize(("here", "warned"), [((), ["vnni"]), (("vnni", "bf16"), [])])
def test_a_cpu_that_lacks_what_the_model_was_made_for_is_warned_of(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    here: tuple[str, ...],
    warned: list[str],
) -> None:
    monkeypatch.setattr("handlers.runtimes.torchscript.load", lambda path, device: model)
    monkeypatch.setattr("handlers.cpu.instructions", lambda: frozenset(here))
    Doubler().initialize(context(tmp_path, instructions=["vnni"]))
    said = [each.getMessage() for each in caplog.records if each.name == "handlers.base"]
    assert ["vnni" for each in said if "a CPU with VNNI" in each and "saturate" in each] == warned


@pytest.mark.parametrize("section", [None, [], "fast"])
def test_a_handler_section_must_be_a_mapping(tmp_path: Path, section: Any) -> None:
    wrong = context(tmp_path)
    wrong.model_yaml_config["handler"] = section
    with pytest.raises(LoadError, match="the handler section must be a mapping"):
        Doubler().initialize(wrong)


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    lacking = context(tmp_path)
    (tmp_path / "model.pt").unlink()
    with pytest.raises(LoadError, match=r"no model file 'model\.pt'"):
        Doubler().initialize(lacking)


def test_requests_of_many_instances_come_after_the_others(
    doubler: Doubler, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[float] = []

    def noted(inputs: Tensors) -> Tensors:
        order.extend(inputs["x"].flatten().tolist())
        return model(inputs)

    monkeypatch.setattr(doubler, "runtime", noted)
    found = answers(doubler, [{"instances": [1, 2, 3, 4, 5, 6]}, "7", "8"])
    assert [status for status, _ in found] == [200] * 3
    assert order[:2] == [7, 8]


def test_what_was_refused_is_gone_with_its_answer_and_waits_for_no_collector(
    doubler: Doubler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("handlers.errors"), "disabled", True)  # pytest keeps them
    doubler.handle([{"body": b"1"}], served(doubler, 1))
    gc.collect()
    gc.disable()
    try:
        rows = [b"word", {"data": "word"}, b"13", b"15", b"[1", {"instances": ["a", 1, "b"]}]
        doubler.handle([{"body": row} for row in rows], served(doubler, len(rows)))
        left = [each for each in gc.get_objects() if isinstance(each, (HandlerError, Exchange))]
        assert left == []
    finally:
        gc.enable()
