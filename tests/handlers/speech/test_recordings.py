"""From an instance to mono samples at the model's rate; what can't be is refused."""

from __future__ import annotations

import base64
import builtins
import json
import random
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.errors import BadRequest, LoadError
from handlers.speech import recordings
from handlers.tensors import numpy_files
from tests.support.audio import FORMATS, encode, recording, wave


def read(instance: Any, rate: int = 16000, **said: Any) -> recordings.Recording:
    return recordings.read(instance, rate, **{"array_rate": None, "max_seconds": 10, **said})


def tone(rate: int, seconds: float = 0.5) -> Any:
    """300 Hz."""
    return (np.sin(np.arange(int(rate * seconds)) / rate * 300 * 2 * np.pi) / 2).astype(np.float32)


@pytest.mark.parametrize(("form", "subtype"), FORMATS)
@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_in_every_format_and_rate_it_sounds_the_same(form: str, subtype: str, rate: int) -> None:
    found = read(encode(tone(rate), rate, form, subtype))
    assert found.samples.dtype == np.float32
    assert found.seconds == pytest.approx(0.5, abs=0.06)  # an MP3 is longer
    middle = found.samples[1600:6400]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert spectrum.argmax() * 16000 / len(middle) == pytest.approx(300, abs=5)
    assert np.sqrt((middle**2).mean()) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)


@pytest.mark.parametrize("rate", [4000, 96_000, 192_000])
def test_rates_that_are_rare_can_be(rate: int) -> None:
    assert len(read(encode(tone(rate), rate)).samples) == pytest.approx(8000, abs=2)


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_channels_become_one(channels: int) -> None:
    loud = np.zeros((1600, channels), np.float32)
    loud[:, 0] = 0.5
    found = read(encode(loud, 16000, subtype="FLOAT"))
    assert found.samples == pytest.approx(np.full(1600, 0.5 / channels))


def test_bytes_base64_and_numbers_are_the_same() -> None:
    samples = wave(700)
    file = encode(samples, 16000, subtype="FLOAT")
    whole = np.rint(samples * 32767).astype(np.int16)
    numbers, array = samples.tolist(), numpy_files.write_one(samples)
    for instance in (
        array,
        file,
        base64.b64encode(file).decode(),
        numbers,
        json.dumps(numbers),
        samples,
    ):
        assert read(instance).samples == pytest.approx(samples)
    assert read(whole).samples == pytest.approx(samples, abs=1e-4)
    assert read(samples.astype(np.float16)).samples == pytest.approx(samples, abs=1e-3)
    assert len(read(samples, array_rate=8000).samples) == 1400
    assert read([0, 1, True]).samples.tolist() == [0, 1, 1]


@pytest.mark.parametrize("samples", [np.zeros(1600, np.float32), np.ones(1, np.float32)])
def test_silence_and_a_single_sample_are_recordings(samples: Any) -> None:
    assert read(encode(samples, 16000, subtype="FLOAT")).samples.tolist() == samples.tolist()
    read(encode(samples, 44100))


def spoiled(at: int, fmt: str, value: Any, form: str = "WAV") -> bytes:
    data = bytearray(encode(wave(1600), 16000, form, "PCM_16"))
    data[at : at + struct.calcsize(fmt)] = struct.pack(fmt, value)
    return bytes(data)


LONG = [0.0] * 16000 * 11


@pytest.mark.parametrize(
    ("instance", "status", "words"),
    [
        (b"no sound at all", 415, "not audio of a format"),
        (b"RIFF\0\0\0\0WAVE", 400, "header is damaged"),
        (encode(wave(1600), 16000, "AU"), 415, "not audio of a format"),
        (encode(wave(1600), 16000, "FLAC")[:-900], 400, "damaged or incomplete"),
        (encode(np.zeros(0), 16000), 422, "no samples in it"),
        (encode(np.full(9, np.nan), 16000, subtype="FLOAT"), 422, "not all finite"),
        (encode(np.full(9, np.inf), 16000, subtype="DOUBLE"), 422, "not all finite"),
        (encode(np.full(9, 900.0), 16000, subtype="FLOAT"), 422, "reach 900"),
        (encode(wave(50), 3999), 422, "3999 samples per second"),
        (spoiled(24, "<I", 2**31 - 1), 422, "samples per second"),
        (spoiled(22, ">I", 0xF0FFFFFF, "FLAC"), 413, "longer than 10 s"),
        (spoiled(22, "<H", 1000), 422, "1000 channels"),
        (encode(np.zeros((60_000, 16)), 4000), 413, "longer than"),
        (encode(np.zeros((200_000, 8)), 44100), 413, "in all its channels"),
        (LONG, 413, "longer than 10 s"),
        (np.zeros((2, 900), np.float32), 422, "one row of samples"),
        (np.zeros(9, np.uint8), 422, "not uint8"),
        (np.float32(1), 400, "not a float32"),
        (np.full(9, 1e300), 422, "not all finite"),
        ([1e300], 422, "not all finite"),
        ([2**62], 422, "reach 4.61e"),
        ([[0.1], [0.2]], 422, "one row of samples"),
        ([[0.1], [0.2, 0.3]], 400, "ragged"),
        ([], 422, "no samples in it"),
        (["a"], 400, "not a number"),
        ("?", 400, "not base64"),
        ("[0.1, ", 400, "samples are not JSON"),
        (None, 400, "not null"),
        ({"b": 1}, 400, "not an object"),
    ],
    ids=range(29),
)
def test_what_is_no_recording_is_told_why(instance: Any, status: int, words: str) -> None:
    with pytest.raises(BadRequest, match=words) as caught:
        read(instance)
    assert caught.value.status == status
    assert "BytesIO" not in caught.value.message


def test_a_file_of_infinite_samples_is_refused() -> None:
    samples = np.array([[np.inf, -np.inf]] * 9, np.float32)
    with pytest.raises(BadRequest, match="not all finite"):
        read(encode(samples, 16_000, "WAV", "FLOAT"))


@settings(max_examples=150)
@given(st.integers(0, 2**32), st.binary(max_size=40))
def test_bytes_of_chance_are_read_or_refused(seed: int, junk: bytes) -> None:
    random_ = random.Random(seed)
    # Of what is wrong in an MP3, libmpg123 writes to the terminal.
    data = bytearray(recording(random_, mp3=False)[:20_000])
    for byte in junk:
        data[random_.randrange(min(len(data), random_.choice([64, len(data)])))] = byte
    for instance in (bytes(data), junk):
        try:
            found = read(instance, max_seconds=1.5).samples
        except BadRequest:
            continue
        assert found.ndim == 1
        assert np.isfinite(found).all()


def test_several_together_are_measured_before_any_is_decoded() -> None:
    second = encode(wave(16000), 16000, "FLAC")
    recordings.check_together([second] * 5 + [b"junk", None, 7, "?"], 16000, max_seconds=5)
    for more in (second, wave(160), [0.5], base64.b64encode(second).decode()):
        with pytest.raises(BadRequest, match="at most 5 s") as caught:
            recordings.check_together([second] * 5 + [more], 16000, max_seconds=5)
        assert caught.value.status == 413


def test_the_tone_can_be_read() -> None:
    assert read(recordings.tone(8000), 8000).seconds == 1


def test_without_its_engine_there_is_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "soxr":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(LoadError, match="needs soundfile and soxr") as caught:
        recordings.engines()
    assert caught.value.hint == "pip install soundfile soxr"


@pytest.mark.parametrize("text", ["[", "[" * 99_999, "[0.5,", "[0.5]]"], ids=range(4))
def test_a_string_that_is_no_list_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="samples are not JSON"):
        read(text)


def test_samples_in_a_string_count_with_the_others() -> None:
    recordings.check_together(["[0, 0.5]", [0.0] * 8], 10, max_seconds=1)
    with pytest.raises(BadRequest, match="at most 1 s"):
        recordings.check_together(["[0, 0.5]", [0.0] * 9], 10, max_seconds=1)
