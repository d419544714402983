"""A process without any server: batches of eight, decoded and answered, one after another.

python -m benchmarks.peers.alone SETTINGS BODIES SECONDS: prints "ready", waits for a line, and
prints how many were answered, how many tokens they had, and the seconds.
"""

from __future__ import annotations

import base64
import itertools
import json
import sys
import time
from pathlib import Path

from benchmarks.peers.plain import plain

BATCH = 8


def main() -> None:
    """Answer for so many seconds."""
    settings, bodies, seconds = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
    model = plain(settings)
    turns = itertools.cycle([base64.b64decode(each) for each in json.loads(bodies.read_text())])

    def batch() -> int:
        items = [model.decode(each) for each in itertools.islice(turns, BATCH)]
        return sum(answer.get("tokens", 0) for answer in model.answer(items))

    batch()
    print("ready", flush=True)
    sys.stdin.readline()
    began, answered, tokens = time.monotonic(), 0, 0
    while time.monotonic() < began + seconds:
        tokens += batch()
        answered += BATCH
    print(json.dumps([answered, tokens, time.monotonic() - began]))


if __name__ == "__main__":
    main()
