"""An encoder's folder says how its states become one vector."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from marsmith.errors import BuildError
from marsmith.sources.heads.text_embedding import wrap


@pytest.mark.parametrize(
    ("files", "pooling"),
    [
        ({}, "mean"),
        ({"1_Pooling/config.json": {"pooling_mode_cls_token": True}}, "cls"),
        ({"1_Pooling/config.json": {"pooling_mode_mean_tokens": True, "x": 4}}, "mean"),
        ({"p/config.json": {"pooling_mode": "cls"}, "modules.json": [("a.Pooling", "p")]}, "cls"),
        ({"modules.json": [("s.Transformer", ""), ("s.Dense", "2")]}, "a layer Dense"),
        ({"1_Pooling/config.json": {"pooling_mode": ["mean", "cls"]}}, "pools by mean and cls"),
        ({"1_Pooling/config.json": {"pooling_mode_max_tokens": True}}, "pools by max_tokens"),
        ({"1_Pooling/config.json": "mean"}, "must be an object"),
        ({"modules.json": {"type": "Pooling"}}, "must be a list of layers"),
    ],
)
def test_it_pools_as_the_folder_says(
    tmp_path: Path, files: dict[str, object], pooling: str
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        if isinstance(content, list):
            content = [{"type": kind, "path": path} for kind, path in content]
        (tmp_path / name).write_text(json.dumps(content))
    if pooling in ("mean", "cls"):
        assert wrap(torch.nn.Identity(), tmp_path).pooling == pooling
    else:
        with pytest.raises(BuildError, match=pooling):
            wrap(torch.nn.Identity(), tmp_path)
