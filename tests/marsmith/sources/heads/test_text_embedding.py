"""An encoder's folder says how its states become one vector."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from marsmith.errors import BuildError
from marsmith.sources.heads.text_embedding import Embedding, wrap

TRANSFORMER = ("sentence_transformers.models.Transformer", "")
POOLING = ("sentence_transformers.models.Pooling", "p")


@pytest.mark.parametrize(
    ("files", "pooling"),
    [
        ({}, ("mean",)),
        ({"1_Pooling/config.json": {"pooling_mode_cls_token": True}}, ("cls",)),
        ({"1_Pooling/config.json": {"pooling_mode_mean_tokens": True, "x": 4}}, ("mean",)),
        ({"1_Pooling/config.json": {"pooling_mode_mean_tokens": False}}, ("mean",)),
        ({"1_Pooling/config.json": {"pooling_mode_mean_tokens": True,
                                    "pooling_mode_max_tokens": True}}, ("max", "mean")),
        ({"p/config.json": {"pooling_mode": "cls"}, "modules.json": [TRANSFORMER, POOLING]},
         ("cls",)),
        ({"modules.json": [TRANSFORMER, ("sentence_transformers.models.Dense", "2")]},
         "must begin with Transformer, Pooling"),
        ({"1_Pooling/config.json": "mean"}, "must be an object"),
        ({"modules.json": {"type": "Pooling"}}, "must be a list of layers"),
    ],
)  # fmt: skip
def test_it_pools_as_the_folder_says(
    tmp_path: Path, files: dict[str, object], pooling: tuple[str, ...] | str
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        if isinstance(content, list):
            content = [{"type": kind, "path": path} for kind, path in content]
        (tmp_path / name).write_text(json.dumps(content))
    if isinstance(pooling, tuple):
        found = wrap(torch.nn.Identity(), tmp_path)
        assert isinstance(found, Embedding)
        assert found.pool.modes == pooling
        assert found.normalises == ("modules.json" not in files)
    else:
        with pytest.raises(BuildError, match=pooling):
            wrap(torch.nn.Identity(), tmp_path)
