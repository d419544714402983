"""Rows in, labels and numbers out, and what each column has added."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from handlers.errors import LoadError, ModelError
from handlers.runtimes.eager import ModuleRuntime
from handlers.task import Sample
from handlers.tasks.tabular import Tabular
from handlers.tasks.tabular import TabularOptions as Options
from handlers.tensors import numpy_files
from marsmith import columns
from marsmith.verify.metrics import r2
from tests.support import rents
from tests.support.answers import plain, same
from tests.support.in_batches import ask

NAMES = ["a", "b", "c"]
NUMBERS = {"columns": [{"name": name, "type": "number", "mean": 1.0, "std": 2.0} for name in NAMES]}
LABELS = ["no", "größe", "maybe"]
JSON = "application/json"


def served(folder: Path, definition: Any, module: nn.Module, **section: Any) -> Tabular:
    """A worker but for its process: configured, with a model that has gradients."""
    columns.write(definition, folder)
    (folder / "labels.json").write_text(json.dumps(LABELS))
    handler = Tabular()
    handler.configure({"task": "tabular", **section}, folder)
    handler.use(
        ModuleRuntime(module.eval(), torch.device("cpu"), None, lambda: module), batch_size=8
    )
    return handler


def network(outputs: int) -> nn.Module:
    torch.manual_seed(outputs)
    return nn.Sequential(nn.Linear(3, 8), nn.SiLU(), nn.Linear(8, outputs))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Tabular:
    folder = tmp_path_factory.mktemp("classifier")
    return served(folder, NUMBERS, network(3), labels="labels.json")


@cache
def trained() -> nn.Module:
    module = rents.model()
    rents.train(module)
    return module


@pytest.fixture(scope="module")
def regression(tmp_path_factory: pytest.TempPathFactory) -> Tabular:
    folder = tmp_path_factory.mktemp("regression")
    return served(folder, rents.definition(), trained(), kind="regression")


def one(handler: Tabular, body: Any, **more: Any) -> Any:
    ((status, answer),) = ask(handler, [body], **more)
    assert status == 200, answer
    return answer


def v2(name: str, data: list[Any], datatype: str = "FP32", *shape: int) -> dict[str, Any]:
    return {
        "name": name, "shape": list(shape or (len(data),)), "datatype": datatype, "data": data
    }  # fmt: skip


def test_it_says_a_label_and_probabilities_best_first(classifier: Tabular) -> None:
    answer = one(classifier, {"data": {"a": 5, "b": 1, "c": -3.0}})
    scores = answer["probabilities"]
    with torch.inference_mode():
        wanted = torch.softmax(network(3)(torch.tensor([[2.0, 0, -2]])), dim=1)[0]
    assert scores == pytest.approx(dict(zip(LABELS, wanted.tolist(), strict=True)), abs=1e-6)
    assert answer["prediction"] == next(iter(scores))
    assert list(scores.values()) == sorted(scores.values(), reverse=True)


def test_every_way_to_send_a_row_gives_one_answer(classifier: Tabular) -> None:
    row, values = {"a": 5.0, "b": None, "c": -3.0}, [5.0, None, -3.0]
    nan = float("nan")
    wanted = one(classifier, row)
    for body in (
        {"data": row}, {"data": values}, json.dumps(row), json.dumps(values).encode(),
        {"a": 5, "c": -3}, {"data": json.dumps(values)},
        numpy_files.write_one(np.array([5.0, nan, -3.0])),
    ):  # fmt: skip
        assert one(classifier, body) == wanted, body
    assert same(one(classifier, {"instances": [row, values]})["predictions"], [wanted] * 2, 1e-4)
    tensors = [
        [v2("x", [[5.0, nan, -3.0]], "FP32", 1, 3)],
        [v2("a", [5.0]), v2("c", [-3], "INT8")],
        [v2("a", [5.0], "FP64", 1, 1), v2("b", [nan]), v2("c", [-3.0])],
        [v2("x", [json.dumps(row)], "BYTES")],
    ]
    for inputs in tensors:
        prediction, labels, scores = one(classifier, {"inputs": inputs})["outputs"]
        assert (prediction["data"], prediction["datatype"]) == ([wanted["prediction"]], "BYTES")
        assert (labels["shape"], scores["datatype"]) == ([1, 3], "FP32")
        found = dict(zip(labels["data"], scores["data"], strict=True))
        assert found == pytest.approx(wanted["probabilities"])


def test_one_logit_is_two_labels(tmp_path: Path) -> None:
    (tmp_path / "two.json").write_text('["no", "yes"]')
    handler = served(tmp_path, NUMBERS, nn.Linear(3, 1), labels="two.json")
    for outputs in (torch.tensor([2.0, -1]), torch.tensor([[2.0], [-1]])):
        found = handler.answer({"x": outputs}, [Sample({}, Options(), None)] * 2)
        yes, no = (plain(each.to_json()) for each in found)
        assert yes["probabilities"] == pytest.approx({"yes": 0.880797, "no": 0.119203})
        assert (yes["prediction"], no["prediction"]) == ("yes", "no")
    row = {"a": 9, "b": 4, "c": -2}
    told = [
        one(handler, {"data": row, "parameters": {"target": name}}, explain=True)["attributions"]
        for name in ("yes", "no")
    ]
    assert told[0] == pytest.approx({name: -added for name, added in told[1].items()})


def test_a_regression_predicts_what_was_never_scaled(regression: Tabular) -> None:
    bodies, expected = zip(*rents.held_out(), strict=True)
    found = [answer for _, answer in ask(regression, bodies)]
    assert r2.measure(found, expected) > 0.95
    rows, _ = rents.table()
    missing = sum(not row.get("age") or "floor" not in row for row in rows[rents.TRAINING :])
    assert missing > 10


def test_a_single_number_is_no_list(tmp_path: Path) -> None:
    definition = {**NUMBERS, "targets": [{"name": "rent", "mean": 1000.0, "std": 10.0}]}
    handler = served(tmp_path, definition, nn.Linear(3, 1), kind="regression")
    for outputs in (torch.tensor([2.0]), torch.tensor([[2.0]])):
        (answer,) = handler.answer({"x": outputs}, [Sample({}, Options(), None)])
        assert answer.to_json() == {"prediction": 1020.0}
    bare = served(tmp_path, NUMBERS, nn.Linear(3, 2), kind="regression")
    (answer,) = bare.answer({"x": torch.tensor([[2.0, 3]])}, [Sample({}, Options(), None)])
    assert answer.to_json() == {"prediction": [2.0, 3.0]}


def test_a_table_of_one_column_takes_a_bare_value(tmp_path: Path) -> None:
    town = {"columns": [{"name": "town", "type": "category", "values": ["Oslo", "7"]}]}
    module = nn.Sequential(nn.Embedding(3, 2), nn.Flatten())
    handler = served(tmp_path, town, module)
    wanted = one(handler, {"town": "Oslo"})
    assert one(handler, "Oslo") == one(handler, {"data": ["Oslo"]}) == wanted
    assert one(handler, {"instances": ["Oslo", 7, None]})["predictions"][0] == wanted
    outputs = one(handler, {"inputs": [v2("town", ["Oslo", "7"], "BYTES")]})["outputs"]
    assert outputs[0]["data"][0] == wanted["prediction"]


def test_an_unknown_value_is_refused_unless_it_may_be_missing(tmp_path: Path) -> None:
    row = {"area": 50, "age": 3, "town": "Atlantis", "floor": 1}
    refusing = served(tmp_path, rents.definition(), trained(), kind="regression")
    ((status, error),) = ask(refusing, [row])
    assert (status, "'Atlantis' is not allowed in the column 'town'" in error["error"]) == (422, 1)
    lenient = served(tmp_path, rents.definition(), trained(), kind="regression", unknown="missing")
    assert one(lenient, row) == one(lenient, {**row, "town": None})


GOOD = [
    {"a": 1, "b": 2, "c": 3},
    {"data": [30, -7, 0.5], "parameters": {"top_k": 1}},
    {"data": {}, "parameters": {"top_k": 10**40}},
    {"instances": [{"a": 1}, [1, 2, 3], {"b": True}], "parameters": {"top_k": 2}},
    {"inputs": [v2("x", [1.0, 2, 3, 4, 5, 6], "FP32", 2, 3)]},
    {"inputs": [v2("a", [1, 2, 3], "INT64"), v2("b", [1.0, 2, 3])]},
    b"[1, 2, null]",
]
BAD = [
    {"d": 1}, {"a": "1"}, {"a": [1]}, {"a": 1e300}, {"a": float("inf")}, {"a": 10**400},
    {"data": [1]}, {"data": [1, 2, "\ud800"]}, {"data": "x"}, {"data": None}, {"data": True},
    {"data": 7}, b"[1", b"\xff", b"[" * 100_000, {"instances": [{}, {"\ud800": 1}]},
    {"inputs": [v2("x", [1.0, 2, 3, 4], "FP32", 2, 2)]}, {"inputs": [v2("a", ["1"], "BYTES")]},
    {"inputs": [v2("a", [1.0]), v2("e", [1.0])]},
    {"inputs": [v2("a", [1.0, 2.0], "FP32", 1, 2), v2("b", [1.0])]},
    {"a": 1, "parameters": {"top_k": 0}}, {"a": 1, "parameters": {"top_k": True}},
]  # fmt: skip
EXPLAINED = [
    {"a": 1, "b": 2, "c": 3},
    {"data": [30, -7, 0.5], "parameters": {"target": "no"}},
    {"instances": [{"a": 1}, [1, 2, 3]], "parameters": {"method": "occlusion"}},
    {"inputs": [v2("x", [1.0, 2, 3, 4, 5, 6], "FP32", 2, 3)], "parameters": {"steps": 4}},
    {"a": 1, "parameters": {"target": "yes"}},
    {"a": "1"},
]


@pytest.mark.parametrize(
    ("bodies", "explain"), [(GOOD + BAD, False), (EXPLAINED, True)], ids=["predict", "explain"]
)
def test_in_any_company_each_is_answered_as_alone(
    classifier: Tabular, bodies: list[Any], explain: bool
) -> None:
    alone = [ask(classifier, [body], explain=explain)[0] for body in bodies]
    if not explain:
        assert [status for status, _ in alone[: len(GOOD)]] == [200] * len(GOOD)
    assert all(400 <= status < 500 for status, _ in alone[len(GOOD) :])
    assert all(len(json.dumps(answer)) < 900 for status, answer in alone if status != 200)

    @settings(max_examples=25 if explain else 60)
    @given(st.lists(st.integers(0, len(bodies) - 1), min_size=1, max_size=20))
    def check(chosen: list[int]) -> None:
        found = ask(classifier, [bodies[index] for index in chosen], explain=explain)
        for index, (status, answer) in zip(chosen, found, strict=True):
            assert status == alone[index][0]
            assert same(answer, alone[index][1], 1e-4), bodies[index]

    check()


def test_hostile_values_are_answered_or_refused(regression: Tabular) -> None:
    random_ = random.Random(0)
    values: list[Any] = [
        None,
        "",
        "Rome",
        "rome",
        0,
        -1,
        1e5,
        1e308,
        10**400,
        float("nan"),
        True,
        [],
        {},
        "\0",
    ]
    names = ["area", "age", "town", "floor", "instances", "inputs", "data", "b64", "\udfff"]
    bodies = [
        {name: random_.choice(values) for name in random_.sample(names, random_.randint(1, 5))}
        for _ in range(600)
    ]
    statuses = [status for status, _ in ask(regression, bodies)]
    assert {200, 422} <= set(statuses) <= {200, 400, 422}


def test_of_a_linear_model_each_column_adds_its_scaled_value(tmp_path: Path) -> None:
    module = nn.Linear(3, 3)
    handler = served(tmp_path, NUMBERS, module, labels="labels.json")
    row = {"a": 5.0, "b": -1.0, "c": 1.0}
    for method in ("integrated_gradients", "occlusion"):
        asked = {"data": row, "parameters": {"target": "maybe", "method": method}}
        answer = one(handler, asked, explain=True)
        weights = module.weight[2].tolist()
        assert answer["target"] == "maybe"
        wanted = [2 * weights[0], -weights[1], 0]
        assert answer["attributions"] == pytest.approx(
            dict(zip(NAMES, wanted, strict=True)), abs=1e-5
        )
    best = one(handler, row)["prediction"]
    assert one(handler, row, explain=True)["target"] == best


def test_what_columns_add_is_in_the_units_of_the_prediction(regression: Tabular) -> None:
    row = {"area": 100, "age": None, "town": "Oslo", "floor": 2}
    answer = one(regression, {"data": row}, explain=True)
    assert answer["target"] == "rent"
    assert list(answer["attributions"]) == ["area", "age", "town", "floor"]
    without = one(regression, {"data": {**row, "town": None}})
    change = one(regression, {"data": row})["prediction"][0] - without["prediction"][0]
    assert answer["attributions"]["town"] == pytest.approx(change, abs=0.01)
    ((status, error),) = ask(
        regression, [{"data": row, "parameters": {"target": "price"}}], explain=True
    )
    assert (status, "allowed: rent, deposit" in error["error"]) == (422, True)
    ((status, error),) = ask(
        regression, [{"data": row, "parameters": {"method": "integrated_gradients"}}], explain=True
    )
    assert (status, error["hint"]) == (422, "ask for the method occlusion")
    outputs = one(
        regression, {"inputs": [v2("area", [70.0]), v2("town", ["Rome"], "BYTES")]}, explain=True
    )["outputs"]
    assert [each["name"] for each in outputs] == ["target", "columns", "attributions"]


def test_the_example_and_what_it_takes(classifier: Tabular, regression: Tabular) -> None:
    for handler in (classifier, regression):
        media_type, body = handler.example()
        assert media_type == JSON
        assert one(handler, json.loads(body))["prediction"]
        described = json.loads(json.dumps(handler.describe_input()))
        assert [each["name"] for each in described["columns"]] == handler.columns.names
        assert handler.varying_axes() == {}
    assert classifier.Answer.schema()["required"] == ["prediction"]
    assert set(plain(classifier.Explanation.schema())["properties"]) == {"target", "attributions"}


@pytest.mark.parametrize(
    ("kind", "outputs", "words"),
    [
        ("classification", (1, 2, 3), r"a classification answers \(N, outputs\), not \(1, 2, 3\)"),
        ("classification", (1, 2), "3 labels for 2 classes"),
        ("classification", (), r"answers \(N, outputs\), not \(\)"),
        ("regression", (1, 3), r"a regression answers \(N, 2\), not \(1, 3\)"),
        ("regression", (1,), r"a regression answers \(N, 2\), not \(1,\)"),
    ],
)
def test_a_model_that_does_not_fit_is_told(
    classifier: Tabular, regression: Tabular, kind: str, outputs: tuple[int, ...], words: str
) -> None:
    handler = classifier if kind == "classification" else regression
    with pytest.raises(ModelError, match=words):
        handler.answer({"x": torch.zeros(outputs)}, [Sample({}, Options(), None)])


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"columns": "rows.json"}, "the columns can't be read from rows.json"),
        ({"labels": "names.json"}, "the labels can't be read from names.json"),
        ({"kind": "ranking"}, "must be one of 'classification', 'regression'"),
        ({"kind": "regression", "labels": "labels.json"}, "'labels' are for a classification"),
        ({"unknown": "drop"}, "must be one of 'refuse', 'missing'"),
        ({"defaults": {"topk": 1}}, "did you mean 'top_k'?"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    tmp_path: Path, section: dict[str, Any], words: str
) -> None:
    with pytest.raises(LoadError) as caught:
        served(tmp_path, NUMBERS, nn.Linear(3, 3), **section)
    assert words in str(caught.value)
