"""The shipped `stdlib_gpt` through TorchServe, against itself one request at a time.

Prompts of 5 to 120 tokens, 64 tokens to follow each, 16 connections, in turns, by one client:

- alone: the archive with a batch size of 1;
- batched: the archive as `marsmith build` made it;
- joined: the same under TorchServe's continuous batching.

And how long the first piece of a stream takes beside that load, and the memory of the workers over
many requests.

    marsmith build archiver_configs/stdlib_gpt.yaml
    python -m benchmarks.generation [--seconds 15] [--rounds 3] [--requests 10000]
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.load import Load, authorization, put
from benchmarks.texts import memory, summary
from examples import stdlib_gpt
from marsmith.serving import server
from marsmith.serving.host.run_folder import ServerInfo
from marsmith.tune.variants import variant

LENGTHS = range(5, 121)  # of prompts, in tokens
FOLLOWING = 64
STREAMS = 10
VARIANTS: dict[str, dict[str, Any]] = {
    "alone": {"batchSize": 1},
    "batched": {},
    "joined": {"continuousBatching": True, "minWorkers": 1, "maxWorkers": 1},
}
HEADERS = {"Content-Type": "application/json"}


def bodies() -> list[bytes]:
    """One request for each length, of source that the model was never trained on."""
    tokenizer, chance = stdlib_gpt.tokenizer(), random.Random(0)  # noqa: S311 - no secret
    made, excerpts = [], stdlib_gpt.excerpts()
    for length in LENGTHS:
        text = chance.choice(excerpts)
        ids = tokenizer.encode(text, add_special_tokens=False).ids[: length - 1]
        options = {"max_new_tokens": FOLLOWING}
        made.append(json.dumps({"data": tokenizer.decode(ids), "parameters": options}).encode())
    chance.shuffle(made)
    return made


def tokens_each(info: ServerInfo, model: str, asked: list[bytes]) -> float:
    """How many tokens an answer has, in the mean: some texts end early."""
    with server.client(info) as client:
        answers = [client.predict(model, each, content_type="application/json") for each in asked]
    return statistics.fmean(answer["tokens"] for answer in answers)


def first_pieces_ms(info: ServerInfo, model: str, asked: list[bytes]) -> float:
    """How long the first piece of a stream takes beside 15 other connections; the median."""
    done = threading.Event()

    def others() -> None:
        while not done.is_set():
            headers = {**authorization(info), **HEADERS}
            put(info.port, model, asked, headers, connections=15, seconds=1)

    load, taken = threading.Thread(target=others), []
    load.start()
    with server.client(info) as client:
        for body in asked[:STREAMS]:
            began = time.perf_counter()
            stream = client.stream(model, body, content_type="application/json")
            next(stream)
            taken.append((time.perf_counter() - began) * 1e3)
            list(stream)
    done.set()
    load.join()
    return round(statistics.median(taken), 1)


def main() -> None:
    """Measure, and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--archive", type=Path, default=Path("model_store/stdlib_gpt.mar"))
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=10_000)
    options = parser.parse_args()
    asked = bodies()
    rounds: dict[str, list[Load]] = {}
    with tempfile.TemporaryDirectory() as work:
        archives = [variant(options.archive, *each, Path(work)) for each in VARIANTS.items()]
        info = server.serve(archives, port=0)
        try:
            headers = {**authorization(info), **HEADERS}
            each = tokens_each(info, "batched", asked)
            for counted in [False] + [True] * options.rounds:  # the first warms all of them
                for name in VARIANTS:
                    found = put(info.port, name, asked, headers, seconds=options.seconds)
                    if counted:
                        rounds.setdefault(name, []).append(found)
            first = {name: first_pieces_ms(info, name, asked) for name in VARIANTS}
            before, grown = memory(info), []
            for _ in range(2):
                most = options.requests // 2
                put(info.port, "batched", asked, headers, seconds=3600, most=most)
                grown.append(round(memory(info) - before, 1))
        finally:
            server.stop(info)
    report: dict[str, Any] = {name: summary(loads) for name, loads in rounds.items()}
    for name, loads in rounds.items():
        report[name]["tokens_per_s"] = [round(load.per_s * each) for load in loads]
        report[name]["times_alone"] = [
            round(mine.per_s / its.per_s, 2)
            for mine, its in zip(loads, rounds["alone"], strict=True)
        ]
        report[name]["first_piece_ms"] = first[name]
    print(json.dumps({**report, "workers_mb": round(before, 1), "grown_mb": grown}, indent=2))


if __name__ == "__main__":
    main()
