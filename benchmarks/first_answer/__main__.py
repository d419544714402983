"""Start each in turn from an empty folder, ask until it answers rightly, and stop it."""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from benchmarks import first_answer
from benchmarks.running import running
from handlers import cpu
from marsmith.serving.host.ports import choose_ports

ROOT = Path(__file__).parents[2]
LIMIT_S = 120.0
TOLERANCE = 1e-4
Scores = dict[str, float]


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=str(first_answer.__doc__).splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="has the peers")
    options = parser.parse_args()
    seconds: dict[str, list[float]] = {}
    for number in range(options.rounds):
        for name, answer in contenders(options.python).items():
            with tempfile.TemporaryDirectory() as folder:
                took = answer(Path(folder))
            seconds.setdefault(name, []).append(took)
            print(f"round {number + 1}, {name}: {took:.1f} s", file=sys.stderr)
    print(f"instructions: {', '.join(sorted(cpu.instructions()))}\n")
    print("| | seconds to the first answer (rounds) |\n|---|---|")
    for name, runs in seconds.items():
        rounds = ", ".join(f"{each:.1f}" for each in runs)
        print(f"| {name} | {statistics.median(runs):.1f} ({rounds}) |")


def contenders(python: Path) -> dict[str, Callable[[Path], float]]:
    """What is measured, by name: in a folder of its own, to seconds."""
    lit = (str(python), "-m", "benchmarks.first_answer.litserve_app")
    service = "benchmarks.first_answer.bentoml_app:Classifier"
    bento = (str(python), "-m", "bentoml", "serve", service, "-q", "--port")
    return {
        "marsmith": ours,
        "LitServe": lambda folder: theirs(folder, lit, port_at_end=False),
        "BentoML": lambda folder: theirs(folder, bento, port_at_end=True),
    }


def ours(folder: Path) -> float:
    """Run the README's four commands; the model's code is written by the first of them."""
    environment = environment_of(folder)
    command = (sys.executable, "-m", "marsmith.cli")
    store = ("--model-store", str(folder / "store"))
    picture = folder / "picture.png"
    picture.write_bytes(image())
    port = ("--port", str(choose_ports(0).inference))

    def run(*arguments: str) -> str:
        return subprocess.run(
            (*command, *arguments),
            env=environment,
            cwd=folder,
            check=True,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        ).stdout

    begun = time.monotonic()
    run("new", "first", "--task", "image_classification")
    run("build", "first/first.yaml", *store)
    run("serve", "first", *store, *port)
    try:
        said = run("predict", "first", str(picture), *port)
        took = time.monotonic() - begun
    finally:
        run("stop", *port)
    check(json.loads(said), expected(folder / "first", environment))
    return took


def theirs(folder: Path, command: tuple[str, ...], port_at_end: bool) -> float:
    """Start a peer's service on code that is there, and ask until it answers."""
    environment = environment_of(folder)
    subprocess.run(
        (sys.executable, "-m", "marsmith.cli", "new", "first", "--task", "image_classification"),
        env=environment,
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=LIMIT_S,
    )
    work = folder / "first"
    right = expected(work, environment)
    port = str(choose_ports(0).inference)
    environment["PEER_PORT"] = port
    begun = time.monotonic()
    with running((*command, port) if port_at_end else command, work, environment):
        with httpx.Client(timeout=10) as client:
            while True:
                try:
                    said = client.post(
                        f"http://127.0.0.1:{port}/predict",
                        files={"data": ("picture.png", image(), "image/png")},
                    )
                    if said.status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                if time.monotonic() > begun + LIMIT_S:
                    raise SystemExit(f"{command}: no answer in {LIMIT_S:.0f} s")
                time.sleep(0.05)
        took = time.monotonic() - begun
    check(said.json(), right)
    return took


def environment_of(folder: Path) -> dict[str, str]:
    """Ours on the path, and homes of their own: nothing is left from the round before."""
    bento = {"BENTOML_HOME": str(folder / "bento"), "BENTOML_DO_NOT_TRACK": "1"}
    return {**os.environ, **bento, "PYTHONPATH": str(ROOT)}


def expected(folder: Path, environment: dict[str, str]) -> Scores:
    """What the module itself says, in a process of its own."""
    done = subprocess.run(
        (sys.executable, "-m", "benchmarks.first_answer.plain"),
        cwd=folder,
        env=environment,
        input=image(),
        check=True,
        capture_output=True,
        timeout=LIMIT_S,
    )
    scores: Scores = json.loads(done.stdout)
    return scores


def check(said: Scores, right: Scores) -> None:
    """Raise if an answer isn't the module's own."""
    if said.keys() != right.keys() or any(abs(said[k] - right[k]) > TOLERANCE for k in right):
        raise SystemExit(f"said {said}, the module {right}")


def image() -> bytes:
    """A picture of chance, as PNG."""
    pixels = np.random.default_rng(7).integers(0, 256, (32, 32, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


if __name__ == "__main__":
    main()
