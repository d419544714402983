"""A handler's source is read, and torchvision's transforms in it become settings of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from marsmith.foreign import source

MNIST = """
from torchvision import transforms
from ts.torch_handler.image_classifier import ImageClassifier

raise SystemExit("it was run")


class Digits(ImageClassifier):
    topk = 3
    image_processing = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))]
    )

    def postprocess(self, data):
        return data.argmax(1).tolist()
"""


def test_a_class_says_what_it_is_and_nothing_is_run(tmp_path: Path) -> None:
    (tmp_path / "digits.py").write_text(MNIST)
    found = source.read(tmp_path / "digits.py")
    assert (found.kind, found.classes, found.methods) == (
        "image_classifier",
        ("Digits",),
        ("postprocess",),
    )
    assert found.attribute("topk") == "3"
    settings, unknown = source.transforms(str(found.attribute(source.PROCESSING)))
    assert settings == {"greyscale": True, "mean": [0.1307], "std": [0.3081]}
    assert unknown == []


def test_two_classes_are_told(tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text("class A: pass\nclass B: pass\ndef handle(data, context): 1")
    found = source.read(tmp_path / "two.py")
    assert (found.kind, found.classes, found.function) == ("", ("A", "B"), True)


@pytest.mark.parametrize(
    ("steps", "settings"),
    [
        ("T.Resize(256), T.CenterCrop(224), T.ToTensor()", {"resize": 256, "crop": 224}),
        ("T.Resize((32, 48)), T.ToTensor()", {"resize": [32, 48]}),
        ("T.Resize(size=[32]), T.ToTensor()", {"resize": 32}),
        (
            "T.Resize(232, interpolation=T.InterpolationMode.BICUBIC), T.ToTensor()",
            {"resize": 232, "interpolation": "bicubic"},
        ),
        ("T.Grayscale(), T.ToTensor()", {"greyscale": True}),
    ],
)
def test_transforms_become_settings(steps: str, settings: dict[str, object]) -> None:
    assert source.transforms(f"T.Compose([{steps}])") == (settings, [])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("T.Compose([T.Resize(SIZE), T.ToTensor()])", "the step T.Resize(SIZE)"),
        ("T.Compose([T.RandomCrop(3), T.ToTensor()])", "the step T.RandomCrop(3)"),
        ("T.Compose([T.ToTensor(), T.Resize(3)])", "the order"),
        ("T.Compose([T.Resize(3)])", "without ToTensor"),
        ("T.Compose([T.Grayscale(3), T.ToTensor()])", "T.Grayscale(3)"),
        ("weights.transforms()", "no list of transforms"),
    ],
)
def test_what_no_setting_does_is_told(text: str, words: str) -> None:
    _, unknown = source.transforms(text)
    assert words in "\n".join(unknown)
