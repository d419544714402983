"""Fuzzes one target, guided by coverage, until libFuzzer's own options end it.

    python -m tests.fuzz.guided TARGET FOUND [libFuzzer's options] FOLDERS

See: https://github.com/google/atheris and https://llvm.org/docs/LibFuzzer.html.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import atheris

WATCHED = ["handlers", "marsmith.archive", "marsmith.foreign", "PIL", "soundfile"]
OWN = 0.6  # the share of changes that know the format; libFuzzer makes the others

with atheris.instrument_imports(include=WATCHED):
    from tests.fuzz.engine import Watched


def main() -> None:
    """Fuzz a target; what is found is written down."""
    name, into, *options = sys.argv[1:]
    with atheris.instrument_imports(include=WATCHED):
        watched = Watched(name, Path(into))
    chance = random.Random()

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        chance.seed(seed)
        if chance.random() < OWN:
            return watched.target.mutate(data, chance)[:most]
        return bytes(atheris.Mutate(data, most))

    atheris.Setup([sys.argv[0], *options], watched.run, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
