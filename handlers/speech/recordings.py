"""Shared by audio tasks: read an instance as mono samples at the model's rate."""

from __future__ import annotations

import io
import json
import wave
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from handlers.errors import BadRequest, LoadError
from handlers.protocols import base64_text, tensors
from handlers.schema import JsonObject
from handlers.tensors import numpy_files

Floats = NDArray[np.floating]

SCHEMA: JsonObject = {
    "anyOf": [*base64_text.SCHEMA, {"type": "array", "items": {"type": "number"}}]
}
"""The JSON Schema of a recording: a file in base64, or samples."""
FORMATS = ("WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3", "AIFF")
RATES = (4_000, 192_000)  # samples per second
MOST_CHANNELS = 16
DENSEST = 96_000  # samples of all channels per second that is allowed: stereo at 48 kHz
LOUDEST = 8.0  # full scale is 1; a little more is common, a thousand times is another unit
UNKNOWN_CODES = (1, 4)  # libsndfile's, for an unknown format or an unknown encoding


class SoundFile(Protocol):
    """The part of an open `soundfile.SoundFile` that is used."""

    format: str
    frames: int
    samplerate: int
    channels: int

    def read(self, frames: int, *, dtype: str, always_2d: bool) -> Floats: ...  # noqa: D102

    def __enter__(self) -> SoundFile: ...

    def __exit__(self, *exc: object) -> None: ...


@dataclass(frozen=True)
class Recording:
    """Sound as a model takes it.

    Attributes:
        samples: (S,) float32, mono, at the model's rate; finite, about -1 to 1.
        seconds: how long the original lasts.
    """

    samples: Floats
    seconds: float


def engines() -> tuple[ModuleType, ModuleType]:
    """Import the modules that decode and resample.

    Raises:
        LoadError: one of them is missing.
    """
    try:
        import soundfile
        import soxr
    except (ImportError, OSError) as error:  # OSError: of libsndfile, which the first loads
        hint = "pip install soundfile soxr"
        raise LoadError("audio needs soundfile and soxr", hint=hint) from error
    return soundfile, soxr


def read(instance: object, rate: int, *, array_rate: int | None, max_seconds: float) -> Recording:
    """Read the recording of an instance.

    Args:
        instance: an encoded file as bytes or base64 text; or its samples, a list of numbers, also
            as JSON in a string, or a (S,) array: floats in [-1, 1], or int16.
        rate: the model's samples per second.
        array_rate: the rate of an array; by default the model's. A file has its own.
        max_seconds: the longest that is allowed; a file is checked before it is decoded.

    Raises:
        BadRequest: 415 for what is not audio of a known format, 413 for too much of it, 422 for
            samples out of range, 400 for what is damaged.
    """
    instance = _parsed(instance)
    if isinstance(instance, list):
        array = tensors.to_array(instance, "the recording")
        instance = array.astype(np.float64) if array.dtype.kind in "iub" else array
    if isinstance(instance, np.ndarray):
        found, own_rate = _from_array(instance), array_rate or rate
        _check_size(len(found), own_rate, 1, max_seconds)
    else:
        found, own_rate = _from_file(base64_text.encoded(instance, "a recording"), max_seconds)
    if not len(found):
        raise BadRequest("the recording has no samples in it", status=422)
    peak = float(np.abs(found).max())
    if not peak <= LOUDEST:
        said = f"reach {peak:.3g}" if np.isfinite(peak) else "are not all finite"
        raise BadRequest(
            f"the recording's samples {said}; they should lie in [-1, 1]",
            hint="divide by full scale, or send INT16",
            status=422,
        )
    samples = found if own_rate == rate else engines()[1].resample(found, own_rate, rate)
    return Recording(samples, len(found) / own_rate)


def check_together(instances: Sequence[object], rate: int, *, max_seconds: float) -> None:
    """Refuse recordings that are too long together, before any is decoded.

    Arrays count as if they came at the model's rate; what can't be read doesn't count, because it
    is refused for its own fault.

    Raises:
        BadRequest: 413 when they last more than `max_seconds` together.
    """
    total = 0.0
    for each in instances:
        with suppress(BadRequest):
            instance = _parsed(each)
            if isinstance(instance, (list, np.ndarray)):
                total += len(instance) / rate
                continue
            with _opened(base64_text.encoded(instance, "a recording")) as file:
                total += file.frames / file.samplerate
    if total > max_seconds:
        raise BadRequest(
            f"the recordings last {total:.0f} s together; at most {max_seconds:g} s are allowed",
            hint="send fewer, or shorter ones",
            status=413,
        )


def tone(rate: int) -> bytes:
    """Make a WAV file: a second of a tone that rises from 200 to 800 Hz."""
    time = np.arange(rate) / rate
    samples = np.sin(2 * np.pi * (200 + 300 * time) * time) * 8000
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setparams((1, 2, rate, rate, "NONE", ""))
        written.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()


def _parsed(instance: object) -> object:
    """A list of samples, if a text is one in JSON: base64 has no brackets; or an `.npy`'s."""
    instance = numpy_files.opened(instance)
    if not isinstance(instance, str) or not instance.lstrip().startswith("["):
        return instance
    try:
        found: object = json.loads(instance)
    except (ValueError, RecursionError):
        raise BadRequest("the recording's samples are not JSON") from None
    return found


def described(rate: int, max_seconds: float) -> dict[str, object]:
    """Describe what an instance may be, for people and programs."""
    return {
        "recording": f"an audio file ({', '.join(FORMATS)}), as bytes or base64",
        "samples": "a list of floats in [-1, 1]; .npy or tensors, FP32 or INT16; see 'sample_rate'",
        "sample_rate": rate,
        "max_seconds": max_seconds,
    }


def _from_array(array: tensors.Array) -> Floats:
    if array.ndim != 1:
        raise BadRequest(
            f"a recording must be one row of samples, not of shape {array.shape}",
            hint="mix its channels to one; for several recordings send several instances",
            status=422,
        )
    if array.dtype == np.int16:
        return array.astype(np.float32) / 32768
    if array.dtype.kind != "f":
        raise BadRequest(
            f"samples must be floats in [-1, 1], or INT16; not {array.dtype}", status=422
        )
    with np.errstate(over="ignore"):  # what float32 can't hold becomes infinite
        return array.astype(np.float32)


def _from_file(data: bytes, max_seconds: float) -> tuple[Floats, int]:
    """Read a file's samples, the mean of its channels, and their rate."""
    with _opened(data) as file:
        if file.format not in FORMATS:
            raise _unknown()
        low, high = RATES
        if not low <= file.samplerate <= high:
            raise BadRequest(
                f"the recording has {file.samplerate} samples per second; "
                f"{low} to {high} are allowed",
                status=422,
            )
        if file.channels > MOST_CHANNELS:
            raise BadRequest(
                f"the recording has {file.channels} channels; at most {MOST_CHANNELS} are allowed",
                status=422,
            )
        _check_size(file.frames, file.samplerate, file.channels, max_seconds)
        try:
            found = file.read(file.frames, dtype="float32", always_2d=True)
        except Exception:  # a decoder may raise anything on hostile bytes
            raise BadRequest("the recording is damaged or incomplete") from None
        with np.errstate(invalid="ignore", over="ignore"):  # what isn't finite is refused below
            return found.mean(axis=1) if found.shape[1] > 1 else found[:, 0], file.samplerate


def _opened(data: bytes) -> SoundFile:
    soundfile, _ = engines()
    try:
        file: SoundFile = soundfile.SoundFile(_Bytes(data))
    except soundfile.LibsndfileError as error:
        if error.code in UNKNOWN_CODES:
            raise _unknown() from None
        raise BadRequest("the recording's header is damaged") from None
    except Exception:  # as above
        raise BadRequest("the recording's header is damaged") from None
    return file


class _Bytes(io.BytesIO):
    """Damaged headers point before the beginning, and soundfile would print a traceback."""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return super().seek(max(0, offset) if whence == io.SEEK_SET else offset, whence)


def _unknown() -> BadRequest:
    return BadRequest(
        "the body is not audio of a format that can be read",
        hint=f"send one of {', '.join(FORMATS)}",
        status=415,
    )


def _check_size(frames: int, rate: int, channels: int, max_seconds: float) -> None:
    """Refuse what is too long, or too dense, before memory is allocated for it."""
    if frames > max_seconds * rate:
        raise BadRequest(
            f"the recording is longer than {max_seconds:g} s, or doesn't say how long it is",
            hint="cut it, or write it to a file, not to a pipe",
            status=413,
        )
    most = int(max_seconds * DENSEST)
    if frames * channels > most:
        raise BadRequest(
            f"the recording has {frames * channels} samples in all its channels; at most {most} "
            "are allowed",
            hint="send one channel, at a lower rate",
            status=413,
        )
