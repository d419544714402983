"""Histories in, items out: everything but a real model's taste."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from handlers import batching, tasks
from handlers.errors import BadRequest, HandlerError, LoadError, ModelError
from handlers.protocols import writing
from handlers.protocols.exchange import Exchange
from handlers.runtimes.eager import ModuleRuntime
from handlers.task import Sample
from handlers.tasks.recommendation import Recommendation, Recommended
from handlers.tasks.recommendation import RecommendationOptions as Options
from tests.support.answers import plain, same_ranking

ITEMS = 60
WIDTH = 8
IDS: list[str | int] = [f"item {n}" if n % 2 else n for n in range(ITEMS)]
FEATURES = ["age", "visits"]


class Tower(nn.Module):
    """A masked mean of the history, and features: users' vectors, or the scores of all items."""

    def __init__(self, *, scores: bool, features: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(ITEMS + 1, WIDTH)
        self.features = nn.Linear(2, WIDTH) if features else None
        self.out = nn.Linear(WIDTH, ITEMS if scores else WIDTH)

    def forward(self, history: torch.Tensor, features: torch.Tensor | None = None) -> torch.Tensor:
        kept = (history != ITEMS).unsqueeze(-1).float()
        user = (self.embedding(history) * kept).sum(1) / kept.sum(1).clamp(min=1)
        if self.features is not None and features is not None:
            user = user + self.features(features)
        answer: torch.Tensor = self.out(user)
        return answer


def vectors(items: int = ITEMS, width: int = WIDTH) -> Any:
    return np.random.default_rng(0).standard_normal((items, width)).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("archive")
    (made / "catalogue.json").write_text(json.dumps(IDS))
    popularity = [[IDS[n], 100 - n] for n in range(10, 40)]
    (made / "popularity.json").write_text(json.dumps(popularity))
    np.save(made / "vectors.npy", vectors())
    return made


def configured(folder: Path, **section: Any) -> Recommendation:
    handler: Recommendation = tasks.find("recommendation")()
    handler.configure({"task": "recommendation", **section}, folder)
    tower = Tower(scores="vectors" not in section, features="features" in section)
    handler.use(ModuleRuntime(tower.eval(), torch.device("cpu")), batch_size=8)
    return handler


def recommend(
    handler: Recommendation, requests: list[tuple[Any, Options]], limit: int = 8
) -> list[Recommended]:
    def predict(group: Any) -> Any:
        return handler.answer(handler.inference(handler.collate(group)), group)

    samples = [handler.decode(*each) for each in requests]
    answers = batching.run(samples, predict, key=handler.group_key, limit=limit)
    given = [answer for answer in answers if isinstance(answer, Recommended)]
    assert len(given) == len(answers), answers
    return given


def one(handler: Recommendation, instance: Any, **options: Any) -> Recommended:
    (answer,) = recommend(handler, [(instance, Options(**options))])
    return answer


def ranking(answer: Recommended) -> dict[Any, float]:
    return dict(zip(answer.items, answer.scores, strict=True))


def refused(handler: Recommendation, instance: Any, **options: Any) -> BadRequest:
    with pytest.raises(BadRequest) as caught:
        handler.decode(instance, Options(**options))
    assert len(caught.value.message) < 300
    return caught.value


HISTORIES = st.lists(st.sampled_from(IDS), max_size=70)
OPTIONS = st.builds(
    Options,
    top_k=st.sampled_from([1, 3, 10, 1000]),
    exclude_seen=st.booleans(),
    exclude=st.lists(st.sampled_from(IDS), max_size=5).map(tuple),
)
FORMS: dict[str, dict[str, Any]] = {
    "scores": {},
    "vectors": {"vectors": "vectors.npy"},
    "features": {"features": FEATURES},
    "short": {"vectors": "vectors.npy", "max_history": 3},
}


@pytest.mark.parametrize("form", FORMS)
def test_in_company_each_is_answered_as_alone(folder: Path, form: str) -> None:
    handler = configured(folder, **FORMS[form])

    @settings(max_examples=25)
    @given(st.lists(st.tuples(HISTORIES, OPTIONS), min_size=1, max_size=10))
    def check(requests: list[tuple[Any, Options]]) -> None:
        for request, answer in zip(requests, recommend(handler, requests), strict=True):
            (alone,) = recommend(handler, [request])
            assert same_ranking(ranking(answer), ranking(alone), 1e-4)
            assert answer.from_popularity == alone.from_popularity == (not request[0])

    check()


@pytest.mark.parametrize("form", FORMS)
def test_all_that_is_left_is_recommended_and_nothing_else(folder: Path, form: str) -> None:
    handler = configured(folder, **FORMS[form])

    @settings(max_examples=25)
    @given(HISTORIES, OPTIONS)
    def check(history: list[str | int], options: Options) -> None:
        (answer,) = recommend(handler, [(history, options)])
        excluded = {*options.exclude, *(history if options.exclude_seen else [])}
        assert not excluded & set(answer.items)
        assert len(set(answer.items)) == min(options.top_k, ITEMS - len(excluded))
        assert answer.scores == sorted(answer.scores, reverse=True)

    check()


def test_the_best_are_the_best_of_all(folder: Path) -> None:
    handler = configured(folder, vectors="vectors.npy")
    history = [3, 8, 59]
    with torch.inference_mode():
        user = handler.runtime({"history": torch.tensor([history])})
    scores = (vectors() @ next(iter(user.values()))[0].numpy()).tolist()
    wanted = sorted(range(ITEMS), key=lambda n: -scores[n])
    answer = one(handler, [IDS[n] for n in history], top_k=7)
    assert answer.items == [IDS[n] for n in wanted[:7]]
    assert answer.scores == pytest.approx(sorted(scores, reverse=True)[:7], abs=1e-5)
    without = one(handler, [IDS[n] for n in history], top_k=7, exclude=tuple(answer.items[:2]))
    assert without.items == [IDS[n] for n in wanted[2:9]]


def test_equal_scores_go_by_the_catalogue(folder: Path) -> None:
    handler = configured(folder)
    scores = torch.zeros(1, ITEMS)
    scores[0, 7] = 1
    sample = handler.decode([0], Options(top_k=4))
    (answer,) = handler.answer({"scores": scores}, [sample])
    assert answer.items == [IDS[7], IDS[0], IDS[1], IDS[2]]


def test_only_the_latest_are_given_and_all_are_excluded(folder: Path) -> None:
    handler = configured(folder, max_history=3)
    history = IDS[:50]
    sample = handler.decode(history, Options())
    assert sample.tensors["history"].tolist() == [47, 48, 49]
    answer = one(handler, history, exclude_seen=True, top_k=1000)
    assert set(answer.items) == set(IDS[50:])
    assert one(handler, history).scores == one(handler, IDS[47:50]).scores


def test_a_user_of_whom_nothing_is_known_gets_what_is_popular(folder: Path) -> None:
    handler = configured(folder)
    nothings: list[Any] = [[], {}, {"history": []}, b"[]", {"features": {}}, {"features": None}]
    for nothing in nothings:
        answer = one(handler, nothing, top_k=3)
        assert answer == Recommended([IDS[10], IDS[11], IDS[12]], [90, 89, 88], True)
    unknown = one(handler, ["never seen"], top_k=2, ignore_unknown=True, exclude=(IDS[10],))
    assert unknown == Recommended([IDS[11], IDS[12]], [89, 88], True)
    everything = one(handler, [], top_k=1000)
    assert set(everything.items) == set(IDS)
    assert everything.scores[30:] == [0] * 30
    assert everything.items[30:] == [*IDS[:10], *IDS[40:]]


def test_features_alone_are_something_to_go_by(folder: Path) -> None:
    handler = configured(folder, features=FEATURES)
    sample = handler.decode({"features": {"visits": 2, "age": 0.5}}, Options())
    assert sample.tensors["history"].tolist() == [ITEMS]
    assert sample.tensors["features"].tolist() == [0.5, 2]
    named = one(handler, {"history": [0], "features": {"visits": 2, "age": 0.5}})
    listed = one(handler, {"history": np.array([0]), "features": np.array([0.5, 2])})
    assert named == listed
    assert not one(handler, {"features": [0.5, 2]}).from_popularity
    zeros = one(handler, {"history": [0], "features": [0, 0]})
    assert one(handler, [0]).scores == zeros.scores != named.scores
    assert one(handler, {"history": []}).from_popularity


def test_an_id_may_be_sent_as_text(folder: Path) -> None:
    handler = configured(folder)
    assert one(handler, ["4", "item 3"]) == one(handler, [4, "item 3"])
    assert one(handler, '{"history": [4, "item 3"]}') == one(handler, [4, "item 3"])
    assert "4" not in one(handler, [0], exclude=("4",), top_k=1000).items
    assert 4 not in one(handler, [0], exclude=("4",), top_k=1000).items


@pytest.mark.parametrize(
    ("instance", "status", "words"),
    [
        (["item 1", "x" * 500, "\ud800" * 500], 422, "2 of the ids are not in the catalogue: 'xxx"),
        ([10**5000, -1], 422, "a huge integer, -1"),
        ([f"no {n}" for n in range(10_000)], 422, "10000 of the ids are not in the catalogue"),
        ([1.0], 400, "an integer, not a number"),
        ([True], 400, "not a boolean"),
        ([None], 400, "not null"),
        ([[0]], 400, "not a list"),
        ([{"id": 0}], 400, "not an object"),
        (np.array([[0, 1]]), 400, "not a list"),
        (np.array([0.5]), 400, "not a number"),
        (np.int64(1), 400, "not an integer"),
        (None, 400, "not null"),
        (7, 400, "not an integer"),
        ("item 1", 400, "a string must be JSON"),
        ("[" * 100_000, 400, "a string must be JSON"),
        (b"\xff\xfe\x00", 400, "a string must be JSON"),
        ({"history": None}, 400, "'history' must be a list of ids, not null"),
        ({"history": {"0": 1}}, 400, "'history' must be a list of ids, not an object"),
        ({"histroy": [0]}, 422, "did you mean 'history'?"),
        ({"history": [0], "features": [1]}, 422, "must be 2 numbers, not 1"),
        ({"history": [0], "features": {"age": 1}}, 422, "'features' lacks visits"),
        ({"features": {"age": 1, "visit": 1}}, 422, "did you mean 'visits'?"),
        ({"features": [1, "2"]}, 400, "feature 'visits' must be a number, not a string"),
        ({"features": [True, 1]}, 400, "feature 'age' must be a number, not a boolean"),
        ({"features": [float("nan"), 1]}, 422, "feature 'age' must be a finite float32"),
        ({"features": [10**5000, 1]}, 422, "must be a finite float32"),
        ({"features": [1e39, 1]}, 422, "must be a finite float32"),
        ({"features": 3}, 400, "must be an object or a list, not an integer"),
    ],
    ids=range(28),
)
def test_what_cannot_be_served_is_told_why(
    folder: Path, instance: Any, status: int, words: str
) -> None:
    error = refused(configured(folder, features=FEATURES), instance)
    assert (error.status, words in error.message) == (status, True), error.message


def test_unknown_ids_in_options_are_refused_too(folder: Path) -> None:
    handler = configured(folder)
    assert "'nothing'" in refused(handler, [0], exclude=("nothing",)).message
    assert one(handler, [0], exclude=("nothing",), ignore_unknown=True) == one(handler, [0])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(IDS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)
INSTANCES = JSON | st.fixed_dictionaries({}, optional={"history": JSON, "features": JSON})


def test_nothing_a_client_sends_breaks_it(folder: Path) -> None:
    handler = configured(folder, features=FEATURES)

    @settings(max_examples=200)
    @given(INSTANCES, st.booleans())
    def check(instance: Any, lenient: bool) -> None:
        body = {"instances": [instance], "parameters": {"ignore_unknown": lenient}}
        exchange = Exchange({"body": body})
        handler.read_all([exchange])
        if exchange.body is not None:
            assert 400 <= exchange.status < 500
            assert len(exchange.body) < 600
        for sample in exchange.samples:
            assert len(sample.tensors["history"]) >= 1
            assert sample.tensors["features"].isfinite().all()

    check()


def exchanged(handler: Recommendation, *bodies: Any) -> list[Any]:
    exchanges = [Exchange({"body": body}, {"body": "application/json"}) for body in bodies]
    handler.read_all(exchanges)
    answers: list[Any] = []
    for exchange in exchanges:
        assert exchange.body is None, exchange.body
        assert exchange.request is not None
        samples = list(exchange.samples)
        given = handler.answer(handler.inference(handler.collate(samples)), samples)
        names = {"model_name": "m", "model_version": "1"}
        answers.append(json.loads(writing.write(exchange.request, given, **names).body))
    return answers


def test_the_same_in_every_protocol(folder: Path) -> None:
    handler = configured(folder)
    options = {"top_k": 2, "exclude": [2, "item 3"]}
    integers = {"name": "history", "shape": [2, 2], "datatype": "INT64", "data": [0, 4, 6, 8]}
    texts = {"name": "history", "shape": [2], "datatype": "BYTES", "data": ["[0, 4]", "[6, 8]"]}
    raw, data, v1, v2, strings = exchanged(
        handler,
        {"history": [0, 4], "parameters": options},
        {"data": [0, 4], "parameters": options},
        {"instances": [{"history": [0, 4]}, [6, 8]], "parameters": options},
        {"inputs": [integers], "parameters": options},
        {"inputs": [texts], "parameters": options},
    )
    assert set(raw) == {"items", "scores", "from_popularity"}
    assert raw == data
    first, second = v1["predictions"]
    assert first["items"] == raw["items"]
    assert first["scores"] == pytest.approx(raw["scores"], abs=1e-5)
    assert v2 == strings
    items, scores, popular = v2["outputs"]
    assert scores["shape"] == [2, 2]
    assert scores["data"] == [*first["scores"], *second["scores"]]
    assert popular == {
        "name": "from_popularity",
        "shape": [2],
        "datatype": "BOOL",
        "data": [False, False],
    }
    assert items["datatype"] == "BYTES"  # this catalogue has ids of both kinds


def test_v2_takes_features_as_a_tensor(folder: Path) -> None:
    handler = configured(folder, features=FEATURES)
    history = {"name": "history", "shape": [2, 1], "datatype": "INT64", "data": [0, 4]}
    features = {"name": "features", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4]}
    sent = {"history": [4], "features": {"age": 3, "visits": 4}}
    v2, raw = exchanged(handler, {"inputs": [history, features]}, sent)
    assert v2["outputs"][1]["data"][10:] == pytest.approx(raw["scores"], abs=1e-5)


@pytest.mark.parametrize("shape", [(1,), (2, ITEMS), (1, ITEMS - 1), (1, 2, ITEMS)])
def test_a_model_that_is_no_recommender_is_told(folder: Path, shape: tuple[int, ...]) -> None:
    handler = configured(folder)
    with pytest.raises(ModelError, match=r"answers \(N, 60\) items' scores"):
        handler.answer({"x": torch.zeros(shape)}, [handler.decode([0], Options())])
    handler = configured(folder, vectors="vectors.npy")
    with pytest.raises(ModelError, match=r"answers \(N, 8\) users' vectors"):
        handler.answer({"x": torch.zeros(shape)}, [handler.decode([0], Options())])


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf")])
def test_an_answer_that_is_not_finite_is_an_error(folder: Path, wrong: float) -> None:
    handler = configured(folder)
    scores = torch.zeros(2, ITEMS)
    scores[1, 3] = wrong
    known, unknown = (handler.decode(history, Options(top_k=1)) for history in ([0], []))
    with pytest.raises(ModelError, match="not finite"):
        handler.answer({"x": scores}, [known, known])
    _, popular = handler.answer({"x": scores}, [known, unknown])
    assert popular.from_popularity


def test_half_precision_outputs_are_ranked_too(folder: Path) -> None:
    handler = configured(folder, vectors="vectors.npy")
    sample = handler.decode([0], Options())
    for dtype in (torch.float16, torch.bfloat16):
        (answer,) = handler.answer({"x": torch.ones(1, WIDTH, dtype=dtype)}, [sample])
        assert len(answer.items) == 10


def test_the_example_and_what_it_takes(folder: Path) -> None:
    handler = configured(folder, features=FEATURES, max_history=2)
    media_type, body = handler.example()
    assert media_type == "application/json"
    sample = handler.decode(body, Options())
    assert isinstance(sample, Sample)
    assert sample.tensors["history"].tolist() == [11, 12]
    batch = handler.collate([sample, handler.decode([0], Options())])
    assert batch["history"].tolist() == [[11, 12], [0, ITEMS]]
    assert batch["features"].shape == (2, 2)
    assert handler.varying_axes() == {"history": (1,)}
    assert json.loads(json.dumps(handler.describe_input()))["items"] == ITEMS
    assert [field.name for field in dataclasses.fields(Recommended)] == list(
        plain(Recommended.schema())["required"]
    )


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"catalogue": "missing.json"}, "missing.json can't be read"),
        ({"popularity": "catalogue.json"}, "must be a JSON list of .id, count. pairs"),
        ({"features": ["a", "a"]}, "must be unique"),
        ({"vectors": "missing.npy"}, "can't be read from missing.npy"),
        ({"vectors": "catalogue.json"}, "can't be read from catalogue.json"),
        ({"index": "x.faiss"}, "an 'index' needs 'vectors'"),
        ({"max_history": 0}, "must be at least 1"),
        ({"defaults": {"top_k": 1001}}, "must be at most 1000"),
        ({"vector": "vectors.npy"}, "did you mean 'vectors'"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    folder: Path, section: dict[str, Any], words: str
) -> None:
    with pytest.raises(LoadError, match=words):
        configured(folder, **section)


def test_errors_are_of_their_request_alone(folder: Path) -> None:
    handler = configured(folder)
    good, bad = [0], ["nothing"]
    exchanges = [Exchange({"data": each}) for each in (good, bad, good)]
    handler.read_all(exchanges)
    assert [exchange.status for exchange in exchanges] == [200, 422, 200]
    assert not any(isinstance(each, HandlerError) for each in exchanges[0].samples)
