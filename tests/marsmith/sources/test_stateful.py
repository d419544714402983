"""TorchScript that keeps its state in attributes is served as its own loop runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from examples.voice_activity import CHUNK, RATE, recordings
from marsmith.cache import Cache
from marsmith.errors import BuildError, RequestError, ServerError
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.serving import server
from marsmith.sources.torchscript import TorchScriptFile

STEPS = 60


class Memory(nn.Module):
    """The mean of what a recurrent cell has remembered, its state with the batch at 1."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cell = nn.Linear(7, 4)
        self.hidden, self.steps = torch.empty(0), 0

    def forward(self, x: torch.Tensor, gain: float) -> torch.Tensor:
        if not len(self.hidden):
            self.hidden = torch.zeros([1, x.shape[0], 4])
        self.steps += 1
        both = torch.cat([x * gain, self.hidden[0]], dim=1)
        self.hidden = torch.tanh(self.cell(both)).unsqueeze(0)
        return self.hidden.mean(dim=2)[0]


SAID: dict[str, Any] = {"constants": {"gain": 0.5}, "state": {"hidden": 1}, "reset": ["steps"]}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    module = Memory().eval().requires_grad_(False)
    torch.jit.save(torch.jit.script(module), str(tmp_path / "memory.pt"))
    return tmp_path / "memory.pt"


def loaded(file: Path, **said: Any) -> nn.Module:
    return TorchScriptFile(torchscript=file, **said).load(Cache(file.parent), lambda line: None)


@pytest.mark.parametrize("frozen", [False, True])
def test_states_of_several_sequences_go_in_and_come_out(file: Path, frozen: bool) -> None:
    module = loaded(file, **SAID)
    if frozen:
        module = torch.jit.freeze(module)
    alone = [torch.jit.load(str(file)) for _ in range(3)]
    hidden = torch.zeros(3, 1, 4)
    for step in range(5):
        x = torch.rand(3, 3) + step
        found = module(x, hidden)
        wanted = [own(x[row : row + 1], 0.5) for row, own in enumerate(alone)]
        assert torch.allclose(found["output"], torch.cat(wanted), atol=1e-6)
        hidden = found["next_hidden"]
    assert found["next_hidden"].shape == (3, 1, 4)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"state": {}}, "keeps hidden from call to call, too: a tensor"),
        ({"reset": []}, "keeps steps from call to call, too: 0 in the file"),
        ({"state": {"memory": 1}}, "doesn't change an attribute 'memory'"),
        ({"state": {"hidden": 1, "steps": 0}}, "of 'state' if it is a tensor"),
        ({"constants": {"gain": 1}}, "gain: 1 is nothing that forward takes"),
        ({"constants": {"rate": 1.0}}, "it takes x: Tensor, gain: float"),
    ],
    ids=range(6),
)
def test_what_does_not_fit_the_file_is_refused_with_what_does(
    file: Path, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(BuildError, match=words):
        loaded(file, **{**SAID, **change})


def test_what_requests_can_not_give_is_asked_for(file: Path) -> None:
    with pytest.raises(BuildError, match="forward takes 'gain', of the type float") as caught:
        loaded(file)
    assert "constants: {gain: ...}" in caught.value.hint


@pytest.fixture(scope="module")
def silero() -> Path:
    """Silero VAD's own TorchScript file, as its package brings it."""
    package = pytest.importorskip("silero_vad", reason="pip install marsmith[examples]")
    return Path(package.__file__).parent / "data" / "silero_vad.jit"


@pytest.fixture(scope="module")
def voice(silero: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its archive."""
    recipe = {
        "name": "voice",
        "task": "tensors",
        "source": {
            "torchscript": str(silero),
            "constants": {"sr": RATE},
            "state": {"_state": 1, "_context": 0},
            "reset": ["_last_sr", "_last_batch_size"],
        },
        "handler": {
            "inputs": {
                "x": {"shape": [CHUNK]},
                "state": {"shape": [2, 128], "from_output": "next_state"},
                "context": {"shape": [64], "from_output": "next_context"},
            }
        },
        "serving": {"max_workers": 1},
    }
    store = tmp_path_factory.mktemp("voice")
    build(recipe, store)
    return store / "voice.mar"


@pytest.mark.slow
def test_silero_speaks_for_itself(silero: Path, voice: Path) -> None:
    voices = list(recordings())
    loops = [torch.jit.load(str(silero)) for _ in voices]
    spoken = 0
    with Harness(voice, batch_size=8) as harness:
        for step in range(STEPS):
            some = [n for n in range(len(voices)) if step % (n + 1) == 0]  # batches of all sizes
            chunks = [voices[n][step * CHUNK : (step + 1) * CHUNK] for n in some]
            responses = harness.predict(
                [
                    Request.json(
                        {
                            "data": chunk.tolist(),
                            "parameters": {"sequence_id": n, "sequence_start": step == 0},
                        }
                    )
                    for n, chunk in zip(some, chunks, strict=True)
                ]
            )
            for n, chunk, response in zip(some, chunks, responses, strict=True):
                wanted = loops[n](torch.from_numpy(chunk)[None], RATE).item()
                assert response.json() == {"output": [pytest.approx(wanted, abs=1e-4)]}
                spoken += wanted > 0.5
    assert spoken > 20


@pytest.mark.slow
def test_silero_speaks_for_itself_through_a_real_server(
    silero: Path, voice: Path, server_state: Path
) -> None:
    voices = [np.resize(each, 100 * CHUNK).reshape(100, CHUNK) for each in recordings()][:2]
    loops = [torch.jit.load(str(silero)) for _ in voices]
    with server.serve([voice], port=0) as running, running.client() as client:
        for step, chunks in enumerate(zip(*voices, strict=True)):
            for name, chunk, loop in zip("ab", chunks, loops, strict=True):
                options = {"sequence_id": name, "sequence_index": step}
                options |= {"sequence_start": step == 0, "sequence_end": step == 99}
                said = client.predict("voice", chunk, options=options)
                wanted = loop(torch.from_numpy(chunk)[None], RATE).item()
                assert said == {"output": [pytest.approx(wanted, abs=1e-4)]}
        with pytest.raises(RequestError, match="never begun, has ended"):
            client.predict("voice", chunk, options={"sequence_id": "a"})
        with pytest.raises(ServerError, match="keeps the state of sequences"):
            server.scale(running, "voice", 2)
