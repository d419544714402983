"""Breast tumours: a small network on 30 measurements of 569 real samples; scikit-learn ships them.

See: W. Street, W. Wolberg, O. Mangasarian, Nuclear Feature Extraction for Breast Tumor Diagnosis,
1993.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

SEED = 0
HELD_OUT = 143  # of 569
EPOCHS = 60
MEASURED = 0.9  # of each row's columns, while it trains: a row may come with columns missing
Row = dict[str, float]


def model() -> nn.Module:
    """The untrained model: (N, 30), scaled -> (N, 2) logits."""
    return nn.Sequential(nn.Linear(30, 24), nn.ReLU(), nn.Linear(24, 2))


def split() -> tuple[list[Row], list[str], int]:
    """All rows in a fixed order, their labels, and where training ends."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    order = np.random.default_rng(SEED).permutation(len(data.data))
    names = [str(name) for name in data.feature_names]
    rows = [dict(zip(names, row, strict=True)) for row in data.data[order].tolist()]
    return rows, [str(data.target_names[i]) for i in data.target[order]], len(rows) - HELD_OUT


def definition() -> dict[str, Any]:
    """The columns, as the training part has them."""
    from marsmith import columns

    rows, _, end = split()
    return columns.describe(rows[:end])


def train(module: nn.Module) -> None:
    """Train in place on the training part: a second or two."""
    from marsmith import columns

    rows, labels, end = split()
    inputs = columns.encode(definition(), rows[:end])["numbers"]
    names = sorted(set(labels))
    targets = torch.tensor([names.index(label) for label in labels[:end]])
    torch.manual_seed(SEED)
    optimiser = torch.optim.AdamW(module.parameters(), lr=3e-3, weight_decay=3e-2)
    module.train()
    for _ in range(EPOCHS):
        for chosen in torch.randperm(end).split(32):
            measured = torch.rand(len(chosen), inputs.shape[1]) < MEASURED
            logits = module(inputs[chosen] * measured)
            loss = nn.functional.cross_entropy(logits, targets[chosen], label_smoothing=0.02)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    module.eval()


def assets(module: nn.Module, folder: Path) -> None:
    """Write what travels with the model: the columns, and the labels in its order."""
    from marsmith import columns

    columns.write(definition(), folder)
    names = sorted(set(split()[1]))
    (folder / "labels.json").write_text(json.dumps(names), "utf-8")


def held_out() -> list[tuple[bytes, str]]:
    """The held-out part: 143 requests, and whether the tumour is benign or malignant."""
    rows, labels, end = split()
    pairs = zip(rows[end:], labels[end:], strict=True)
    return [(json.dumps(row).encode(), label) for row, label in pairs]
