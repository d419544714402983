"""Named tensors in and out, and the state of sequences from request to request."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from handlers.errors import LoadError
from handlers.protocols.exchange import Exchange
from handlers.runtimes.eager import ModuleRuntime
from handlers.tasks.tensors import NamedTensorsHandler
from tests.support.in_batches import ask

STEP, CONTEXT = 4, 2


class Recurrent(nn.Module):
    """The end of the last step and a step, (N, 6), and a state, (N, 3), to both's mix."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cell = nn.GRUCell(STEP + CONTEXT, 3)

    def forward(self, step: torch.Tensor, state: torch.Tensor) -> dict[str, torch.Tensor]:
        after = self.cell(step, state)
        return {"mean": after.mean(dim=1), "after": after}


class Weighted(nn.Module):
    """Rows of any count, (N, rows, 2), and as many weights, (N, rows), to their sum, (N, 2)."""

    def forward(self, rows: torch.Tensor, weights: torch.Tensor, scale: torch.Tensor) -> Any:
        return (rows * weights[:, :, None]).sum(dim=1) * scale[:, None]


def handler(module: nn.Module, inputs: dict[str, Any], **section: Any) -> NamedTensorsHandler:
    made = NamedTensorsHandler()
    made.configure({"task": "tensors", "inputs": inputs, **section}, Path())
    made.use(ModuleRuntime(module.eval(), torch.device("cpu"), inputs=list(inputs)), batch_size=8)
    return made


def recurrent(**section: Any) -> NamedTensorsHandler:
    inputs = {
        "step": {"shape": [STEP], "context": CONTEXT},
        "state": {"shape": [3], "from_output": "after"},
    }
    return handler(Recurrent(), inputs, **section)


def weighted() -> NamedTensorsHandler:
    return handler(
        Weighted(),
        {
            "rows": {"shape": ["count", 2]},
            "weights": {"shape": ["count"]},
            "scale": {"shape": [], "default": 2},
        },
    )


def body(data: Any, **parameters: Any) -> bytes:
    return json.dumps({"data": data, "parameters": parameters}).encode()


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


ROWS, WEIGHTS = [[1.0, 2.0], [3.0, 4.0]], [0.5, 0.25]
SUM = [2.5, 4.0]  # doubled


@pytest.mark.parametrize(
    "sent",
    [
        body({"rows": ROWS, "weights": WEIGHTS}),
        body({"weights": WEIGHTS, "rows": ROWS, "scale": 2}),
        npz(rows=np.array(ROWS), weights=np.array(WEIGHTS, np.float32)),
        npz(rows=np.array(ROWS, order="F"), weights=np.array(WEIGHTS), scale=np.array(2.0)),
        body({"b64": base64.b64encode(npz(rows=ROWS, weights=WEIGHTS)).decode()}),
        json.dumps({"rows": ROWS, "weights": WEIGHTS}).encode(),
    ],
)
def test_tensors_go_in_by_their_names_in_any_order_and_form(sent: bytes) -> None:
    assert ask(weighted(), [sent]) == [(200, {"output": SUM})]


def test_what_has_values_for_all_its_inputs_needs_none() -> None:
    served = handler(nn.Identity(), {"x": {"shape": [2], "default": [1.0, 2.0]}})
    _, example = served.example()
    sent = [npz(), example, body({}), body({"x": [3.0, 4.0]})]
    assert [said for _, said in ask(served, sent)] == [
        {"output": each} for each in ([1.0, 2.0], [1.0, 2.0], [1.0, 2.0], [3.0, 4.0])
    ]


def test_many_at_once_come_in_both_protocols() -> None:
    instance = {"rows": ROWS, "weights": WEIGHTS}
    v1 = json.dumps({"instances": [instance, {**instance, "scale": 4}]}).encode()
    inputs = [
        {"name": "weights", "shape": [2, 2], "datatype": "FP32", "data": WEIGHTS * 2},
        {"name": "rows", "shape": [2, 2, 2], "datatype": "FP64", "data": ROWS * 2},
    ]
    (_, first), (_, second) = ask(weighted(), [v1, json.dumps({"inputs": inputs}).encode()])
    assert first["predictions"] == [{"output": SUM}, {"output": [5.0, 8.0]}]
    (output,) = second["outputs"]
    assert (output["shape"], output["datatype"]) == ([2, 2], "FP32")
    assert output["data"] == SUM * 2


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (body({"rows": ROWS}), "no input 'weights'"),
        (body({"rows": ROWS, "weight": WEIGHTS}), "did you mean 'weights'"),
        (body({"rows": ROWS, "weights": [1.0]}), "where count is 2"),
        (body({"rows": [1.0, 2.0], "weights": WEIGHTS}), r"(count, 2)"),
        (body({"rows": ROWS, "weights": [1.0, "x"]}), "not a number"),
        (body(ROWS), "must be an object"),
        (npz(rows=np.array(ROWS), weights=np.array(["a", "b"])), "must hold numbers"),
        (npz(rows=np.array(ROWS), weights=np.array([None, {}], object)), "numbers"),
        (b"\x93NUMPY\x01\x00", "header"),
        (b"PK\x03\x04" + bytes(40), "npz"),
        (b"neither", "neither JSON"),
        (body({"rows": ROWS, "weights": WEIGHTS}, sequence_id="a"), "not allowed in the options"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_does(sent: bytes, why: str) -> None:
    good = body({"rows": ROWS, "weights": WEIGHTS})
    (status, said), fine = ask(weighted(), [sent, good])
    assert status in (400, 422)
    assert why in said["error"]
    assert fine == (200, {"output": SUM})


def test_numbers_that_a_type_cannot_hold_are_refused() -> None:
    class Same(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    bytes_ = handler(Same(), {"x": {"shape": [2], "datatype": "UINT8"}})
    answers = ask(bytes_, [body([0, 255]), body([0, 256]), body([0, 0.5]), body([0, -1])])
    assert [status for status, _ in answers] == [200, 422, 422, 422]


def test_not_a_number_is_answered_as_bytes_and_refused_as_json() -> None:
    class Root(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.sqrt()

    asked = Exchange({"body": body([-1.0, 4.0])}, accept="application/x-npy")
    root = handler(Root(), {"x": {"shape": [2]}})
    root.answer_all([asked])
    assert asked.status == 200
    assert np.array_equal(np.load(io.BytesIO(asked.body or b"")), [np.nan, 2], equal_nan=True)
    ((status, said),) = ask(root, [body([-1.0, 4.0])])
    assert status == 422
    assert "NaN" in said["error"]


def own_loop(steps: list[np.ndarray[Any, Any]]) -> list[float]:
    """What a caller's own loop around the model says to the steps of a sequence."""
    model, state, before = Recurrent().eval(), torch.zeros(1, 3), np.zeros(CONTEXT, np.float32)
    said = []
    for step in steps:
        whole = torch.from_numpy(np.concatenate([before, step]))[None]
        with torch.inference_mode():
            found = model(whole, state)
        said.append(float(found["mean"]))
        state, before = found["after"], whole[0, -CONTEXT:].numpy()
    return said


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=6), min_size=1, max_size=8))
def test_sequences_in_any_company_are_answered_as_by_ones_own_loop(
    batches: list[list[str]],
) -> None:
    served, random = recurrent(), np.random.default_rng(0)
    steps: dict[str, list[Any]] = {}
    given_: dict[str, list[float]] = {}
    for batch in batches:
        bodies = []
        for name in batch:
            step = random.standard_normal(STEP).astype(np.float32)
            start = name not in steps
            steps.setdefault(name, []).append(step)
            bodies.append(body(step.tolist(), sequence_id=name, sequence_start=start))
        for name, (status, said) in zip(batch, ask(served, bodies), strict=True):
            assert status == 200
            assert set(said) == {"mean"}  # the state stays where it is
            given_.setdefault(name, []).append(said["mean"])
    for name, its in steps.items():
        assert given_[name] == pytest.approx(own_loop(its), abs=1e-6)


def test_who_keeps_the_state_gets_it() -> None:
    step, state = [0.5] * STEP, [0.1, -0.2, 0.3]
    ((status, said),) = ask(recurrent(), [body({"step": step, "state": state})])
    whole = torch.tensor([[0.0] * CONTEXT + step])
    with torch.inference_mode():
        found = Recurrent().eval()(whole, torch.tensor([state]))
    assert status == 200
    assert said["after"] == pytest.approx(found["after"][0].tolist(), abs=1e-6)


def test_a_request_that_is_sent_again_is_answered_as_before() -> None:
    served, step = recurrent(), [0.5, -1.0, 0.25, 2.0]

    def send(index: int, **more: Any) -> tuple[int, Any]:
        asked = body(step, sequence_id=7, sequence_index=index, **more)
        return ask(served, [asked])[0]

    first = send(0, sequence_start=True)
    second, again = send(1), send(1)
    third = send(2, sequence_end=True)
    assert first[1] != second[1] != third[1]
    assert second == again
    assert send(2, sequence_end=True) == third
    assert send(0, sequence_start=True) == first
    assert send(5)[0] == 409


@pytest.mark.parametrize(
    ("options", "status", "why"),
    [
        ({"sequence_id": "new"}, 409, "never begun"),
        ({"sequence_start": True}, 422, "which sequence"),
        ({"sequence_id": 1.5}, 422, "sequence_id"),
    ],
)
def test_a_state_that_is_not_there_is_never_made_up(
    options: dict[str, Any], status: int, why: str
) -> None:
    ((found, said),) = ask(recurrent(), [body([0.0] * STEP, **options)])
    assert found == status
    assert why in said["error"]


def npy(step: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(step, np.float32))
    return file.getvalue()


def send(served: NamedTensorsHandler, body: bytes, **headers: Any) -> tuple[int, Any]:
    """Status and answer of a body with headers, whose names are said without `X-Sequence`."""
    sent = {f"X-Sequence-{name}": value for name, value in headers.items()}
    exchange = Exchange.begin({"body": body}, sent)
    served.answer_all([exchange])
    return exchange.status, json.loads(exchange.body or b"")


def test_headers_say_the_sequence_of_a_file() -> None:
    served = recurrent()
    steps = list(np.random.default_rng(0).standard_normal((5, STEP)).astype(np.float32))
    said = [send(served, npy(steps[0]), Id="7", Start="true", Index="0")]
    said += [send(served, npy(steps[1]), Id="7", Index="1") for _ in range(2)]  # sent again
    said += ask(served, [body(steps[2].tolist(), sequence_id=7)])  # another form of the same
    said += [send(served, npy(steps[3]), Id="7"), send(served, npy(steps[4]), Id="7", End="1")]
    del said[2]
    assert [status for status, _ in said] == [200] * 5
    assert [each["mean"] for _, each in said] == pytest.approx(own_loop(steps), abs=1e-6)
    assert send(served, npy(steps[0]), Id="7")[0] == 409


@pytest.mark.parametrize(
    ("headers", "parameters", "status", "why"),
    [
        ({"Id": "new"}, {}, 409, "never begun"),
        ({"Start": "true"}, {}, 422, "which sequence"),
        ({"Id": "a", "Start": "perhaps"}, {}, 422, "'sequence_start' in the headers"),
        ({"Id": "a", "Index": "-1"}, {}, 422, "at least 0"),
        ({"Id": "a"}, {"sequence_id": "a"}, 422, "in the header X-Sequence-Id"),
        ({"Start": "true"}, {"sequence_id": "a"}, 200, ""),
    ],
)
def test_headers_are_checked_as_parameters_are(
    headers: dict[str, str], parameters: dict[str, Any], status: int, why: str
) -> None:
    found, said = send(recurrent(), body([0.0] * STEP, **parameters), **headers)
    assert found == status
    assert why in said.get("error", "")


def test_a_header_can_not_begin_a_sequence_of_a_model_without_state() -> None:
    status, said = send(weighted(), npz(rows=ROWS, weights=WEIGHTS), Id="a", Start="true")
    assert (status, "not allowed" in said["error"]) == (422, True)


def test_an_ended_sequence_is_gone_and_a_full_house_says_so() -> None:
    served, step = recurrent(max_sequences=2), [0.5] * STEP
    start = {"sequence_start": True}
    asked = [body(step, sequence_id=name, **start) for name in "abc"]
    assert [status for status, _ in ask(served, asked)] == [200, 200, 503]
    ask(served, [body(step, sequence_id="a", sequence_end=True)])
    again = [body(step, sequence_id="a"), body(step, sequence_id="c", **start)]
    assert [status for status, _ in ask(served, again)] == [409, 200]


def test_nobody_waits_for_a_sequence_that_was_forgotten() -> None:
    served, step = recurrent(sequence_idle_s=0.0), [0.5] * STEP
    ask(served, [body(step, sequence_id="a", sequence_start=True)])
    ((status, said),) = ask(served, [body(step, sequence_id="a")])
    assert (status, len(served.sequences)) == (409, 0)
    assert "nobody asked for it" in said["error"]


def test_several_instances_are_no_request_of_a_sequence() -> None:
    asked = {"instances": [[0.0] * STEP] * 2, "parameters": {"sequence_id": 1}}
    ((status, said),) = ask(recurrent(), [json.dumps(asked).encode()])
    assert (status, "follow each other" in said["error"]) == (422, True)


@pytest.mark.parametrize(
    ("inputs", "why"),
    [
        ({}, "not known what the model takes"),
        ({"x": {"shape": [2], "datatype": "float"}}, "must be one of BOOL"),
        ({"x": {"shapes": [2]}}, "did you mean 'shape'"),
        ({"x": {"shape": [2], "default": [1, 2, 3]}}, "doesn't fit its shape"),
        ({"x": {"shape": [2], "default": "a"}}, "doesn't fit its shape"),
        ({"x": {"context": 3}}, "with an axis"),
    ],
)
def test_settings_that_mean_nothing_are_refused(inputs: dict[str, Any], why: str) -> None:
    with pytest.raises(LoadError, match=why):
        handler(nn.Identity(), inputs)


def test_its_example_is_answered_and_its_names_are_described() -> None:
    served = recurrent()
    media_type, example = served.example()
    assert media_type == "application/x-npz"
    assert ask(served, [example])[0][0] == 200
    said: Any = served.describe_input()
    assert said["tensors"]["state"]["state_from"] == "after"
    assert served.stateful
