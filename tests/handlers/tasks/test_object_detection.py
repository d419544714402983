"""What detectors answer, in every form, to finds in the original image."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from handlers.errors import LoadError, ModelError
from handlers.images.pixels import Placement
from handlers.protocols import tensors
from handlers.schema import SchemaError, parse
from handlers.task import Sample
from handlers.tasks.object_detection import ObjectDetection
from handlers.tasks.object_detection import ObjectDetectionOptions as Options
from tests.support.answers import plain
from tests.support.images import encode, noise

SQUARE = {"resize": [32, 32]}
Seen = Sample[Options, Placement]


def configured(folder: Path, **section: Any) -> ObjectDetection:
    handler = ObjectDetection()
    handler.configure({"task": "object_detection", **SQUARE, **section}, folder)
    return handler


def seen(size: tuple[int, int] = (32, 32), **options: Any) -> Seen:
    """A sample of an image that was stretched to the model's input."""
    image = torch.zeros(3, 32, 32, dtype=torch.uint8)
    return Sample({"image": image}, Options(**options), Placement(size, (32, 32)))


def finds(
    handler: ObjectDetection, outputs: Sequence[torch.Tensor] | dict[str, Any], *samples: Seen
) -> list[Any]:
    if not isinstance(outputs, dict):
        outputs = {f"output_{i}": tensor for i, tensor in enumerate(outputs)}
    return [a.to_json() for a in handler.answer(outputs, samples or [seen()])]


BOXES = torch.tensor([[[0.0, 0, 16, 16], [1, 0, 16, 16], [8, 16, 24, 32], [0, 0, 16, 16]]])
SCORES = torch.tensor([[[0.9, 0.0], [0.8, 0.0], [0.0, 0.6], [0.0, 0.5]]])


def test_boxes_of_one_class_that_overlap_are_one_find(tmp_path: Path) -> None:
    (answer,) = finds(configured(tmp_path), [BOXES, SCORES])
    assert [(find["label"], find["box"]) for find in answer] == [
        ("0", [0, 0, 16, 16]),
        ("1", [8, 16, 24, 32]),
        ("1", [0, 0, 16, 16]),  # of another class than the first
    ]
    assert [find["score"] for find in answer] == pytest.approx([0.9, 0.6, 0.5])


@pytest.mark.parametrize(
    "outputs",
    [
        [torch.cat([BOXES, SCORES], dim=2)],
        {"scores": SCORES, "boxes": BOXES},
        {"boxes": BOXES.double(), "scores": SCORES.half().float(), "more": torch.zeros(1)},
    ],
    ids=["as one", "by name", "with more"],
)
def test_however_raw_outputs_come_they_say_the_same(tmp_path: Path, outputs: Any) -> None:
    handler = configured(tmp_path)
    (one,), (other,) = finds(handler, [BOXES, SCORES]), finds(handler, outputs)
    assert [find["box"] for find in one] == [find["box"] for find in other]


def test_activations_make_scores(tmp_path: Path) -> None:
    logits = torch.tensor([[[2.0, -2.0]]])
    outputs = [BOXES[:, :1], logits]
    for activation, expected in (("sigmoid", logits.sigmoid()), ("softmax", logits.softmax(-1))):
        handler = configured(tmp_path, activation=activation)
        ((find,),) = finds(handler, outputs)
        assert find["score"] == pytest.approx(float(expected[0, 0, 0]))


def test_detr_has_a_class_for_nothing_and_suppresses_none(tmp_path: Path) -> None:
    logits = torch.log(torch.tensor([[[0.7, 0.2, 0.1], [0.6, 0.1, 0.3], [0.05, 0.05, 0.9]]]))
    found = torch.tensor([[0.5, 0.5, 0.5, 0.25]]).expand(1, 3, 4)
    handler = configured(tmp_path, outputs="detr")
    for outputs in ([logits, found], {"pred_boxes": found, "logits": logits}):
        (answer,) = finds(handler, outputs, seen((64, 128)))
        assert [find["label"] for find in answer] == ["0", "0"]
        assert [find["score"] for find in answer] == pytest.approx([0.7, 0.6])
        assert answer[0]["box"] == answer[1]["box"] == [16, 48, 48, 80]


def test_final_outputs_are_taken_as_they_are_but_for_what_fills_up(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text('["cat", "gr\\u00f6\\u00dfe"]')
    handler = configured(tmp_path, outputs="final", labels="labels.json")
    found = [BOXES, torch.tensor([[0.4, 0.8, 0.0, 0.0]]), torch.tensor([[0, 1, -1, 99]])]
    (answer,) = finds(handler, found, seen(score_threshold=0.0))
    assert [find["label"] for find in answer] == ["größe", "cat"]
    (nameless,) = finds(configured(tmp_path, outputs="final"), found)
    assert [find["label"] for find in nameless] == ["1", "0"]
    with pytest.raises(ModelError, match="answered class 99, and there are 2 labels"):
        finds(handler, [BOXES, torch.ones(1, 4), found[2].abs()])


def test_a_letterboxed_image_gets_boxes_of_its_own_size(tmp_path: Path) -> None:
    handler = configured(tmp_path, letterbox=True, box_units="fraction")
    sample = handler.decode(encode(Image.new("RGB", (100, 50))), Options())
    outputs = [torch.tensor([[[0.25, 0.0, 0.75, 0.5], [0.0, 0.0, 1.0, 0.2]]]), torch.ones(1, 2, 1)]
    (answer,) = finds(handler, outputs, sample)
    # The second lies on the ground that the image was put on: it shows nothing.
    assert [find["box"] for find in answer] == [pytest.approx([25, 0, 75, 25])]


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 3),
        ({"max_detections": 1}, 1),
        ({"score_threshold": 0.55}, 2),
        ({"score_threshold": 1.0}, 0),
        ({"iou_threshold": 1.0}, 4),
        ({"iou_threshold": 0.0}, 2 + 1),
    ],
)
def test_options_are_each_requests_own(tmp_path: Path, options: Any, count: int) -> None:
    batch = [torch.cat([t, t]) for t in (BOXES, SCORES)]
    asked, plain = finds(configured(tmp_path), batch, seen(**options), seen())
    assert (len(asked), len(plain)) == (count, 3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"score_threshold": 1.5}, "at most 1"),
        ({"max_detections": 0}, "at least 1"),
        ({"max_detections": 10**400}, "at most 1000"),
        ({"iou_threshold": float("nan")}, "finite"),
        ({"threshold": 1}, "did you mean"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: Any, words: str) -> None:
    with pytest.raises(SchemaError, match=words):
        parse(Options, options, where="the options")


@settings(max_examples=60)
@given(st.data())
def test_in_a_batch_each_is_answered_as_alone(data: st.DataObject) -> None:
    handler = configured(Path(), activation="sigmoid", box_format="cxcywh")
    count = data.draw(st.integers(1, 4))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 99)))
    found = torch.rand(count, 40, 4, generator=generator) * 32
    scores = torch.randn(count, 40, 3, generator=generator).round(decimals=1)  # with ties
    found[:, data.draw(st.integers(0, 39))] = data.draw(st.sampled_from([0.0, torch.nan, 1e38]))
    samples = [
        seen(
            data.draw(st.sampled_from([(32, 32), (1, 1), (640, 3)])),
            score_threshold=data.draw(st.sampled_from([0.0, 0.5, 0.9])),
            iou_threshold=data.draw(st.sampled_from([0.0, 0.3, 1.0])),
            max_detections=data.draw(st.sampled_from([1, 5, 1000])),
        )
        for _ in range(count)
    ]
    together = finds(handler, [found, scores], *samples)
    for row, sample in enumerate(samples):
        alone = finds(handler, [found[row : row + 1], scores[row : row + 1]], sample)
        assert [together[row]] == alone
        json.dumps(together[row], allow_nan=False)
        width, height = sample.meta.size
        for left, top, right, bottom in (find["box"] for find in together[row]):
            assert 0 <= left < right <= width
            assert 0 <= top < bottom <= height


@pytest.mark.parametrize(
    ("form", "shapes"),
    [
        ("raw", [(1, 4, 4)]),
        ("raw", [(1, 6)]),
        ("raw", [(1, 4, 4), (1, 5, 2)]),
        ("raw", [(1, 4, 5), (1, 4, 2)]),
        ("raw", [(1, 4, 4), (1, 4)]),
        ("raw", [(1, 4, 4), (1, 4, 0)]),
        ("detr", [(1, 4, 3)]),
        ("detr", [(1, 4, 1), (1, 4, 4)]),
        ("detr", [(1, 4, 4), (1, 4, 3)]),
        ("final", [(1, 4, 4), (1, 4)]),
        ("final", [(1, 4, 4), (1, 4), (1, 3)]),
        ("final", [(1, 4, 4), (1, 4, 1), (1, 4, 1)]),
    ],
)
def test_a_model_that_answers_something_else_is_told(
    tmp_path: Path, form: str, shapes: list[tuple[int, ...]]
) -> None:
    with pytest.raises(ModelError, match="this archive's model must answer"):
        finds(configured(tmp_path, outputs=form), [torch.zeros(shape) for shape in shapes])


def test_scores_that_are_no_numbers_are_the_models_fault(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not finite"):
        finds(configured(tmp_path), [BOXES, SCORES * torch.nan])


def test_labels_must_fit_the_classes(tmp_path: Path) -> None:
    (tmp_path / "labels.json").write_text('["cat"]')
    with pytest.raises(ModelError, match="1 labels for 2 classes"):
        finds(configured(tmp_path, labels="labels.json"), [BOXES, SCORES])
    with pytest.raises(LoadError, match="can't be read"):
        configured(tmp_path, labels="none.json")


def test_no_finds_are_an_answer_in_every_protocol(tmp_path: Path) -> None:
    handler = configured(tmp_path)
    outputs = {"boxes": BOXES.repeat(2, 1, 1), "scores": torch.cat([SCORES, SCORES * 0])}
    answers = handler.answer(outputs, [seen(), seen()])
    assert answers[1].to_json() == []
    labels, scores, boxes, counts = (c.to_json() for c in tensors.columns(answers))
    found = len(answers[0].labels)
    assert (labels["shape"], labels["datatype"]) == ([found], "BYTES")
    assert (scores["shape"], scores["datatype"]) == ([found], "FP32")
    assert (boxes["shape"], boxes["datatype"]) == ([found, 4], "FP32")
    assert counts == {"name": "counts", "shape": [2], "datatype": "INT64", "data": [found, 0]}
    _, _, boxes, counts = (c.to_json() for c in tensors.columns(answers[1:]))
    assert (boxes["shape"], boxes["data"], counts["data"]) == ([0, 4], [], [0])
    assert plain(handler.Answer.schema())["items"]["required"] == ["label", "score", "box"]


def test_its_example_and_a_real_image_are_what_the_model_sees(tmp_path: Path) -> None:
    handler = configured(tmp_path)
    for body in (handler.example()[1], encode(noise(50, 20, "RGB"))):
        assert handler.decode(body, Options()).tensors["image"].shape == (3, 32, 32)
