"""Whether somebody speaks: Silero VAD's own ONNX file, which the PyPI package silero-vad ships.

The model reads 32 ms of sound at a time and keeps a state, as the package's own loop does:
see https://github.com/snakers4/silero-vad, MIT.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch

from examples.voices import Line, speak

RATE, CHUNK = 16_000, 512
LOUD = 0.05
"""Of a chunk's root mean square: what is louder is speech in these recordings, which are clean."""
LINES = (
    Line("The model is packed, and the archive is served.", "en-us", 150, 45),
    Line("Nobody waits for ever, and nothing is lost.", "en-us+f3", 165, 60),
    Line("One worker keeps what belongs to a sequence.", "en-us+m3", 140, 40),
)


def recordings() -> Iterator[np.ndarray[Any, np.dtype[np.float32]]]:
    """Sentences with silence around them, (S,) float32 in [-1, 1] at 16 kHz."""
    import soxr

    said, rate = speak(LINES)
    for samples in said:
        speech = soxr.resample(samples.astype(np.float32) / 32768, rate, RATE)
        quiet = np.random.default_rng(0).normal(0, 1e-4, RATE // 2).astype(np.float32)
        whole = np.concatenate([quiet, speech.astype(np.float32), quiet])
        yield whole[: len(whole) // CHUNK * CHUNK]


@cache
def chunks() -> list[tuple[bytes, bool]]:
    """Chunks, each an `.npz` with the state of the package's own loop; and whether one speaks.

    Where it is neither loud nor still, it is left out: nobody knows.
    """
    found = []
    for recording in recordings():
        loop = _loop()
        for start in range(0, len(recording), CHUNK):
            chunk = recording[start : start + CHUNK]
            loudness = float(np.sqrt(np.mean(chunk**2)))
            if loudness > LOUD or loudness < LOUD / 100:
                file = io.BytesIO()
                np.savez(file, input=chunk, state=_state(loop))
                found.append((file.getvalue(), loudness > LOUD))
            loop(torch.from_numpy(chunk), RATE)
    return found


def held_out() -> list[tuple[bytes, bool]]:
    """Every third chunk."""
    return chunks()[::3]


def own_answers(bodies: Sequence[bytes]) -> list[dict[str, np.ndarray[Any, Any]]]:
    """What the package's own wrapper of its file says to each chunk."""
    loop, found = _loop(), []
    for body in bodies:
        given = np.load(io.BytesIO(body))
        loop.reset_states()
        loop._state = torch.from_numpy(given["state"][:, None])
        loop._last_sr, loop._last_batch_size = RATE, 1  # or else it would begin anew
        said = loop(torch.from_numpy(given["input"]), RATE)
        found.append({"output": said.numpy()[0], "stateN": _state(loop)})
    return found


def speech(answers: Sequence[object], expected: Sequence[object]) -> float:
    """The share of chunks where what the model thinks likelier is right."""
    said: Any = answers
    pairs = zip(said, expected, strict=True)
    right = sum((each["output"][0] > 0.5) == spoken for each, spoken in pairs)
    return float(right) / len(expected)


def _loop() -> Any:
    from silero_vad import load_silero_vad

    loop: Any = load_silero_vad(onnx=True)
    loop.reset_states()
    return loop


def _state(loop: Any) -> np.ndarray[Any, Any]:
    """The state of the one voice, (2, 128) float32."""
    state: np.ndarray[Any, Any] = np.asarray(loop._state, np.float32)[:, 0]
    return state
