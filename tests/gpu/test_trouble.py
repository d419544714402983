"""A GPU that has no memory left, or is lost, costs as little as it can."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from marsmith.client.clients import Client
from marsmith.errors import MarsmithError
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.recipe import reading
from marsmith.serving import server
from tests.support import gpu
from tests.support.waiting import wait_until

pytestmark = gpu.NEEDED

RECIPE = """
name: trouble
task: tensors
source: {factory: "trouble_model:model"}
runtime: eager
handler:
  inputs:
    index: {shape: [], datatype: INT64, default: 0}
    gigabytes: {shape: [], datatype: INT64, default: 0}
serving: {device: gpu, batch_size: 8, max_batch_delay_ms: 200}
"""
MODEL = '''
import torch
from torch import nn


class Trouble(nn.Module):
    """Looks a number up, and takes memory for it, twice."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(10, 1)
        self.table.weight.data = torch.arange(10.0)[:, None]

    def forward(self, index, gigabytes):
        size = int(gigabytes.sum()) * 2**28
        first = torch.zeros(size, device=index.device)
        second = torch.zeros(size, device=index.device)
        return self.table(index)[:, 0] + first[:1].sum() + second[:1].sum()


def model():
    return Trouble()
'''


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that clients can hurt its GPU with."""
    folder = tmp_path_factory.mktemp("trouble")
    (folder / "trouble.yaml").write_text(RECIPE)
    (folder / "trouble_model.py").write_text(MODEL)
    build(reading.load(folder / "trouble.yaml"), folder / "store")
    return folder / "store" / "trouble.mar"


def body(index: int, gigabytes: int = 0) -> bytes:
    """A request, as an .npz file."""
    file = io.BytesIO()
    np.savez(file, index=np.int64(index), gigabytes=np.int64(gigabytes))
    return file.getvalue()


def asked(index: int, gigabytes: int = 0) -> Request:
    return Request.raw(body(index, gigabytes), "application/x-npz")


def test_a_batch_that_needs_too_much_memory_is_split(archive: Path) -> None:
    import torch

    whole = torch.cuda.mem_get_info()[1] // 2**30
    each = whole * 3 // 4 // 8  # twice that for eight rows is half as much again as there is
    with Harness(archive, batch_size=8) as harness:
        answers = harness.predict([asked(n, each) for n in range(8)])
        assert [answer.status for answer in answers] == [200] * 8
        assert [answer.json() for answer in answers] == [
            {"output": pytest.approx(float(n))} for n in range(8)
        ]
        alone, neighbour = harness.predict([asked(1, whole), asked(2)])
        assert (alone.status, neighbour.status) == (507, 200)


def test_a_worker_that_has_lost_its_gpu_ends(archive: Path) -> None:
    with Harness(archive, batch_size=8) as harness:
        assert harness.predict([asked(3)])[0].status == 200
        with pytest.raises(MarsmithError):
            harness.predict([asked(99)])
        assert "the GPU no longer answers: ending this worker" in "\n".join(harness.log)
    with Harness(archive, batch_size=8) as harness:
        assert harness.predict([asked(3)])[0].status == 200


def test_torchserve_starts_another_worker_after_it(archive: Path, server_state: Path) -> None:
    with server.serve([archive], port=0) as info, server.client(info, timeout_s=60) as client:
        assert value(client, 3) == pytest.approx(3.0)
        with pytest.raises(MarsmithError):
            value(client, 99)
        wait_until(lambda: answers(client))


def answers(client: Client) -> bool:
    """Whether it is right; False while there is no worker."""
    try:
        return value(client, 4) == pytest.approx(4.0)
    except MarsmithError:
        return False


def value(client: Client, index: int) -> float:
    answer = client.predict("trouble", body(index), content_type="application/x-npz")
    assert isinstance(answer, dict)
    return float(answer["output"])
