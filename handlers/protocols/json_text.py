"""JSON as text: what is sent, and what came, which is looked over before it is parsed."""

from __future__ import annotations

import dataclasses
import json
import re
import sys

import numpy as np
from numpy.typing import NDArray

from handlers.errors import BadRequest

JSON = "application/json"
BLOCK = 1 << 20  # bytes; what is far beyond its bounds is refused after a few of them
# How many numbers one of these costs, as parsing it and looking at it was measured.
OF_A_LIST, OF_A_KEY = 4, 10
QUOTE, COMMA, COLON, OPEN, CLOSE = b'",:{}'
LOWER = 0x20  # makes braces of brackets
WORD = np.uint64(2**64 - 1)
BACKSLASHES = re.compile(rb"\\*")


@dataclasses.dataclass(frozen=True)
class JsonLimits:
    """How much JSON a request may hold; see `task.Config`."""

    max_json_bytes: int = 20_971_520
    max_json_values: int = 4_000_000
    max_json_depth: int = 64


USUAL = JsonLimits()


def dump(body: object) -> bytes:
    """Write JSON in ASCII only: a lone surrogate in a str would end TorchServe's worker.

    Raises:
        ValueError: it has a NaN or an infinity in it.
    """
    return json.dumps(body, allow_nan=False, separators=(",", ":")).encode("ascii")


def parse(data: bytes | bytearray, limits: JsonLimits) -> object:
    """Parse JSON that keeps its bounds; what doesn't is never parsed.

    Raises:
        BadRequest: 413, it is too long, has too many values in it, or is nested too deep; 400, a
            number in it is one that Python doesn't read.
        ValueError: it is not JSON.
    """
    encoding = json.detect_encoding(data)
    if not encoding.startswith("utf-8"):
        data = data.decode(encoding, "surrogatepass").encode("utf-8", "surrogatepass")
    check(data, limits)
    text = data.decode("utf-8-sig", "surrogatepass")
    try:
        value: object = json.loads(text)
    except RecursionError:  # where a setting allows more than Python can
        raise _too_deep(limits) from None
    except json.JSONDecodeError:
        raise
    except ValueError:
        most = sys.get_int_max_str_digits()
        raise BadRequest(f"a whole number in it has more than {most} digits") from None
    return value


def check(data: bytes | bytearray, limits: JsonLimits) -> None:
    """Look JSON over, and refuse what would cost too much to parse.

    Args:
        data: UTF-8; it need not be JSON.
        limits: its bounds.

    Raises:
        BadRequest: 413.
    """
    if len(data) > limits.max_json_bytes:
        raise _beyond(f"{len(data)} bytes", limits.max_json_bytes, "max_json_bytes")
    if len(data) <= BLOCK:
        opened = data.count(b"[") + data.count(b"{")
        most = data.count(b",") + OF_A_LIST * opened + OF_A_KEY * data.count(b":")
        # Most requests are within their bounds even if all of these stand outside of strings.
        if most <= limits.max_json_values and opened <= limits.max_json_depth:
            return
    values = depth = start = 0
    inside = False
    while start < len(data):
        end = _block_end(data, start)
        block, inside = _structure(data[start:end], inside)
        braces = block | LOWER
        opens, closes = braces == OPEN, braces == CLOSE
        steps = opens[opens | closes] * np.int64(2) - 1
        if steps.size:
            if depth + int(steps.cumsum().max()) > limits.max_json_depth:
                raise _too_deep(limits)
            depth += int(steps.sum())
        values += int(
            np.count_nonzero(block == COMMA)
            + OF_A_LIST * np.count_nonzero(opens)
            + OF_A_KEY * np.count_nonzero(block == COLON)
        )
        if values > limits.max_json_values:
            raise _beyond(
                f"more than {limits.max_json_values} values, where a list counts as {OF_A_LIST} "
                f"and a key as {OF_A_KEY}",
                limits.max_json_values,
                "max_json_values",
            )
        start = end


def _block_end(data: bytes | bytearray, start: int) -> int:
    """Where a block ends that begins at `start`: never between a backslash and what it escapes."""
    end = start + BLOCK
    if data[end - 1 : end] == b"\\" and (found := BACKSLASHES.match(data, end)):
        end = found.end() + 1
    return min(end, len(data))


def _structure(block: bytes | bytearray, inside: bool) -> tuple[NDArray[np.uint8], bool]:
    """The bytes of a block, those within strings being 0; whether it ends within one."""
    if b"\\" in block:
        block = block.replace(b"\\\\", b"").replace(b'\\"', b"")
    found = np.frombuffer(block, np.uint8)
    if b'"' not in block:
        return (found[:0] if inside else found), inside
    within = _behind_odd(found == QUOTE, inside)
    return found & (within - 1), bool(within[-1])


def _behind_odd(marks: NDArray[np.bool_], odd: bool) -> NDArray[np.uint8]:
    """1 from each mark of an odd number on, to the next; 64 at once, as words of bits.

    Args:
        marks: where they are.
        odd: whether there was an odd number before.

    See: G. Langdale, D. Lemire, Parsing Gigabytes of JSON per Second, VLDB Journal 28, 2019.
    """
    bits = np.packbits(marks, bitorder="little")
    words = np.zeros(-(-len(bits) // 8), "<u8")
    words.view(np.uint8)[: len(bits)] = bits
    for distance in (1, 2, 4, 8, 16, 32):
        words ^= words << np.uint64(distance)
    until = np.bitwise_xor.accumulate(words >> np.uint64(63))
    words[0] ^= WORD * odd
    words[1:] ^= WORD * (until[:-1] ^ odd)
    return np.unpackbits(words.view(np.uint8), count=len(marks), bitorder="little")


def _too_deep(limits: JsonLimits) -> BadRequest:
    most = limits.max_json_depth
    return BadRequest(
        f"the JSON is nested too deep; at most {most} lists and objects may be within each other",
        hint=f"send it flatter; the setting is 'max_json_depth', {most} here",
        status=413,
    )


def _beyond(said: str, most: int, setting: str) -> BadRequest:
    return BadRequest(
        f"the JSON has {said}; at most {most} are allowed",
        hint=f"send less at once, or as binary tensors; the setting is {setting!r}",
        status=413,
    )
