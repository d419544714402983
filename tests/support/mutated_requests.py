"""Good requests with something in them changed."""

from __future__ import annotations

import dataclasses
import json
import math
import random
import uuid
from typing import Any

from marsmith.harness.wire import Request

NASTY: list[Any] = [None, True, -1, 0, 2**63, 10**30, 1e308, math.nan, math.inf, "", "\ud800", "3"]
NASTY += [[], {}, [[]], {"b64": "="}, "A" * 9999, [0] * 9999, [[0.5] * 8] * 8, "BYTES", "FP32", 0.5]


def fresh(request: Request) -> Request:
    """The same request with an id of its own."""
    return dataclasses.replace(request, request_id=str(uuid.uuid4()))


def mutated(request: Request, random_: random.Random) -> Request:
    """A request of one part with some of its bytes, or some of its JSON, changed."""
    (part,) = request.parameters
    if part.content_type == "application/json" and random_.random() < 0.7:
        value = json.dumps(edited(json.loads(part.value), random_)).encode()
    else:
        value = spoiled(bytearray(part.value), random_)
    return fresh(dataclasses.replace(request, parameters=(dataclasses.replace(part, value=value),)))


def spoiled(data: bytearray, random_: random.Random) -> bytes:
    """Bytes, at least one, of which some were flipped, cut off, doubled or taken out."""
    match random_.randrange(4):
        case 0:
            for _ in range(random_.choice((1, 1, 4, 16))):
                data[random_.randrange(len(data))] ^= 1 << random_.randrange(8)
        case 1:
            del data[random_.randrange(len(data)) :]
        case 2:
            start, end = sorted(random_.randrange(len(data) + 1) for _ in range(2))
            data[start:start] = data[start:end]
        case 3:
            start, end = sorted(random_.randrange(len(data) + 1) for _ in range(2))
            del data[start:end]
    return bytes(data)


def edited(value: Any, random_: random.Random) -> Any:
    """JSON data in which something is gone, renamed or replaced by what nobody expects."""
    if isinstance(value, (dict, list)) and value and random_.random() < 0.8:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = random_.choice(keys)
        changed = value.copy()
        match random_.randrange(6):
            case 0:
                del changed[key]
            case 1 if isinstance(changed, dict):
                changed[random_.choice(["parameters", "instances", "data", "\ud800"])] = value
            case _:
                changed[key] = edited(value[key], random_)
        return changed
    return random_.choice(NASTY)
