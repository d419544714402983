"""The arithmetic of transformers' image processors, in the settings of a handler."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.images.pixels import within
from marsmith.sources.heads import _preprocessor

SIDES = st.integers(1, 3000)


@given(SIDES, SIDES, st.integers(32, 900), st.integers(900, 1400))
def test_sides_are_bounded_as_detectors_bound_them(
    width: int, height: int, shorter: int, longer: int
) -> None:
    from transformers.image_transforms import get_size_with_aspect_ratio
    from transformers.models.yolos.image_processing_pil_yolos import (
        get_size_with_aspect_ratio_yolos,
    )

    wanted = get_size_with_aspect_ratio((height, width), shorter, longer)
    if min(wanted):  # of very thin images it makes nothing
        assert within((width, height), shorter, longer) == wanted[::-1]
    wanted = get_size_with_aspect_ratio_yolos((height, width), shorter, longer)
    if min(wanted):
        assert within((width, height), shorter, longer, 16) == wanted[::-1]


def processor(folder: Path, kind: str, **said: Any) -> dict[str, object]:
    """The settings that come of a preprocessor_config.json, which are tried, too."""
    text = json.dumps({"image_processor_type": f"{kind}ImageProcessor", **said})
    (folder / "preprocessor_config.json").write_text(text)
    return _preprocessor.bring(folder)


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ({"feature_extractor_type": "CLIPFeatureExtractor", "size": 48, "crop_size": 40},
         {"resize": 48, "crop": [40, 40]}),
        ({"feature_extractor_type": "ViTFeatureExtractor", "size": 224, "resample": 3},
         {"resize": [224, 224], "interpolation": "bicubic"}),
        ({"feature_extractor_type": "DeiTFeatureExtractor", "size": 256, "crop_size": 224},
         {"resize": [256, 256], "crop": [224, 224]}),
        ({"feature_extractor_type": "ConvNextFeatureExtractor", "size": 224, "crop_pct": 0.875},
         {"resize": 256, "crop": [224, 224]}),
        ({"feature_extractor_type": "SegformerFeatureExtractor", "size": 512,
          "reduce_labels": True}, {"resize": [512, 512]}),
        ({"feature_extractor_type": "DetrFeatureExtractor", "size": 800, "max_size": 1333,
          "format": "coco_detection"}, {"resize": 800, "max_side": 1333}),
        ({"feature_extractor_type": "YolosFeatureExtractor", "size": 512, "max_size": 864},
         {"resize": 512, "max_side": 864, "side_multiple": 16}),
    ],
)  # fmt: skip
def test_a_file_of_long_ago_means_what_it_did(
    tmp_path: Path, said: dict[str, Any], wanted: dict[str, Any]
) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    assert wanted.items() <= _preprocessor.bring(tmp_path).items()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("ViT", {"do_resize": False}),
        ("ViT", {"do_rescale": False}),
        ("ViT", {"do_normalize": False}),
        ("ViT", {"rescale_factor": 1 / 127.5}),
        ("ViT", {"image_mean": 0.4, "image_std": 0.3}),
        ("ViT", {"do_center_crop": True, "crop_size": {"height": 201, "width": 150}}),
        ("CLIP", {"do_resize": False}),
        ("CLIP", {"size": {"shortest_edge": 100}, "crop_size": {"height": 333, "width": 90}}),
        ("EfficientNet", {"rescale_offset": True, "rescale_factor": 1 / 127.5}),
        ("EfficientNet", {"include_top": False, "do_center_crop": True}),
        ("EfficientNet", {"do_normalize": False}),
        ("ConvNext", {"size": {"shortest_edge": 384}}),
        ("ConvNext", {"size": {"shortest_edge": 224}, "crop_pct": 0.95}),
        ("Detr", {"size": 300, "max_size": 500}),
        *(("Siglip", {"resample": number}) for number in range(6)),
    ],
    ids=str,
)
def test_every_step_is_told(tmp_path: Path, kind: str, said: dict[str, Any]) -> None:
    """`bring` itself prepares images by both, and refuses what differs."""
    assert processor(tmp_path, kind, **said)["upright"] is True
