from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from examples.digits import model
from handlers.runtimes.torchscript import load
from marsmith.converters.torchscript import convert
from tests.marsmith.converters.jobs import job


def test_equal_modules_give_equal_bytes_however_many_were_scripted_before(tmp_path: Path) -> None:
    digests = set()
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        torch.manual_seed(0)
        artifact = convert(job(model(), torch.zeros(1, 1, 8, 8)), tmp_path / name)
        digests.add(hashlib.sha256(artifact.model.read_bytes()).hexdigest())
        assert [file.name for file in (tmp_path / name).iterdir()] == ["model.pt"]
    assert len(digests) == 1


def test_what_is_written_is_what_was_given(tmp_path: Path) -> None:
    module, image = model().eval(), torch.rand(5, 1, 8, 8)
    artifact = convert(job(module, image[:1]), tmp_path)
    outputs = load(artifact.model, torch.device("cpu"))({"image": image})
    torch.testing.assert_close(outputs["output"], module(image), atol=1e-5, rtol=0)
