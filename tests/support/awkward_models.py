"""Small models that are awkward in one way each."""

from __future__ import annotations

import torch
from torch import nn


class Words(nn.Module):
    """Two integer inputs of any length, two named outputs: (N, L) -> (N, 8) and (N, L, 8)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        self.layer = nn.Linear(16, 8)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        tokens = torch.relu(self.layer(self.embedding(ids)))
        weights = mask.unsqueeze(-1).to(tokens.dtype)
        pooled = (tokens * weights).sum(1) / weights.sum(1).clamp(min=1)
        return {"pooled": pooled, "tokens": tokens}


def words(rows: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs for Words; the first token of each row always counts."""
    mask = torch.randint(0, 2, (rows, length))
    mask[:, 0] = 1
    return torch.randint(0, 50, (rows, length)), mask


class Starred(nn.Module):
    """TorchScript has no *inputs, so this can only be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"sum": self.layer(inputs[0] + inputs[1]), "first": inputs[0]}


class Fixed(Starred):
    """What is traced of it knows one batch size only."""

    def forward(self, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"sum": inputs[0] + torch.ones(int(inputs[0].shape[0]), 3)}


class Branching(nn.Module):
    """Goes by its data, which TorchScript can express and torch.fx and torch.export can't."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.layer(x) if bool(x.sum() > 0) else self.layer(-x)
        return found
