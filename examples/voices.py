"""Sentences spoken by eSpeak NG, in any of its voices: English by machines, old and plain.

The library and its voices come in the package espeakng-loader. It speaks one sentence at a time
and has one state for all, so it runs in a process of its own.

See: https://github.com/espeak-ng/espeak-ng/blob/master/src/include/espeak-ng/speak_lib.h
"""

from __future__ import annotations

import ctypes
import json
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

SYNCHRONOUS, UTF8, RATE, PITCH = 2, 1, 1, 3  # of speak_lib.h
CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_int16), ctypes.c_int, ctypes.c_void_p
)


class Line(NamedTuple):
    """What is said, and how.

    Attributes:
        text: English.
        voice: a language, and after a "+" a variant: "en-us+f3".
        speed: words per minute, 80 to 450.
        pitch: 0 to 99.
    """

    text: str
    voice: str
    speed: int = 175
    pitch: int = 50


def speak(lines: Sequence[Line]) -> tuple[list[np.ndarray[Any, Any]], int]:
    """Say each line: its samples, (S,) int16, and how many there are per second."""
    command = [sys.executable, str(Path(__file__))]
    sent = json.dumps(lines).encode()
    said = subprocess.run(command, input=sent, stdout=subprocess.PIPE, check=True).stdout
    (rate,) = struct.unpack_from("<i", said)
    found, place = [], 4
    for _ in lines:
        (count,) = struct.unpack_from("<i", said, place)
        found.append(np.frombuffer(said, "<i2", count, place + 4))
        place += 4 + 2 * count
    return found, int(rate)


def main() -> None:
    """Read lines as JSON from the standard input; write their sound to the standard output."""
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    folder = espeakng_loader.get_data_path().encode()
    rate = library.espeak_Initialize(SYNCHRONOUS, 0, folder, 0)
    parts: list[bytes] = []

    def hear(samples: Any, count: int, events: Any) -> int:
        parts.append(ctypes.string_at(samples, 2 * count) if count > 0 else b"")
        return 0

    callback = CALLBACK(hear)  # kept here: the library does not
    library.espeak_SetSynthCallback(callback)
    out = sys.stdout.buffer
    out.write(struct.pack("<i", rate))
    for line in map(Line._make, json.load(sys.stdin)):
        if library.espeak_SetVoiceByName(line.voice.encode()):
            raise SystemExit(f"there is no voice {line.voice}")
        library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # of the breath that some voices have
        library.espeak_SetParameter(RATE, line.speed, 0)
        library.espeak_SetParameter(PITCH, line.pitch, 0)
        text = line.text.encode()
        library.espeak_Synth(text, len(text) + 1, 0, 0, 0, UTF8, None, None)
        library.espeak_Synchronize()
        sound = b"".join(parts)
        parts.clear()
        out.write(struct.pack("<i", len(sound) // 2) + sound)


if __name__ == "__main__":
    main()
