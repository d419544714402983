"""A table of everything at once: rents of made-up flats, with categories and missing values."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from marsmith import columns

TOWNS = {"Oslo": 500.0, "Rome": 200.0, "größe": 0.0}
FLOORS = {0: -50.0, 1: 0.0, 2: 80.0}  # integers that are mere names
TRAINING = 600
COUNT = 800


class Net(nn.Module):
    """Numbers and looked-up categories: (N, 3) float32, (N, 2) int64 -> (N, 2)."""

    def __init__(self) -> None:
        super().__init__()
        self.towns = nn.Embedding(len(TOWNS) + 1, 4)
        self.floors = nn.Embedding(len(FLOORS) + 1, 4)
        self.layers = nn.Sequential(nn.Linear(3 + 8, 32), nn.SiLU(), nn.Linear(32, 2))

    def forward(self, numbers: torch.Tensor, categories: torch.Tensor) -> torch.Tensor:
        towns, floors = self.towns(categories[:, 0]), self.floors(categories[:, 1])
        found: torch.Tensor = self.layers(torch.cat([numbers, towns, floors], dim=1))
        return found


@cache
def table() -> tuple[list[dict[str, Any]], np.ndarray]:
    """Rows, and what they cost: rent and deposit, (800, 2)."""
    chance = np.random.default_rng(0)
    rows, targets = [], []
    for _ in range(COUNT):
        town, floor = str(chance.choice(list(TOWNS))), int(chance.integers(3))
        area, age = float(chance.uniform(20, 120)), float(chance.uniform(0, 90))
        rent = 100 + 12 * area - 2 * age + TOWNS[town] + FLOORS[floor]
        row = {"area": area, "age": age, "town": town, "floor": floor}
        if chance.random() < 0.1:
            row["age"] = chance.choice(np.array([None, ""], dtype=object))
        if chance.random() < 0.05:
            del row["floor"]
        rows.append(row)
        targets.append([rent, 2 * rent + (300 if town == "Rome" else 0)])
    return rows, np.array(targets)


@cache
def definition() -> dict[str, Any]:
    rows, targets = table()
    return columns.describe(
        rows[:TRAINING],
        categories=["floor"],
        indicators=True,
        targets={"rent": targets[:TRAINING, 0], "deposit": targets[:TRAINING, 1]},
    )


def model() -> nn.Module:
    return Net()


def train(module: nn.Module) -> None:
    """Half a second."""
    rows, targets = table()
    torch.manual_seed(0)
    inputs = columns.encode(definition(), rows[:TRAINING])
    scales = definition()["targets"]
    mean, std = (torch.tensor([each[name] for each in scales]) for name in ("mean", "std"))
    wanted = (torch.from_numpy(targets[:TRAINING]).float() - mean) / std
    optimiser = torch.optim.AdamW(module.parameters(), lr=2e-2)
    for _ in range(150):
        loss = nn.functional.mse_loss(module(*inputs.values()), wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    module.eval()


def assets(module: nn.Module, folder: Path) -> None:
    columns.write(definition(), folder)


def held_out() -> list[tuple[bytes, list[float]]]:
    rows, targets = table()
    pairs = zip(rows[TRAINING:], targets[TRAINING:].tolist(), strict=True)
    return [(json.dumps(row).encode(), target) for row, target in pairs]
