"""What a sentence is about, told by labels that come with it: names of functions.

The model says whether "Return the matches" entails "This is about get close matches." It is trained
on functions and their sentences of some files, and asked about those of others, as
`examples.docstrings` finds them; labels that it is asked for have never been seen.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import torch
from torch import nn

from examples import docstrings

SEED = 0
EVALUATION, LABELS, CALIBRATION = 300, 8, 100
TEMPLATE = "This is about {}."
AGAINST, EPOCHS = 3, 3


class Entails(nn.Module):
    """Whether each token of a label has one like it in a text.

    Tokens, their mask and types, (N, T) int64, a text's of type 0 and behind it a label's, of type
    1 -> logits of no and yes, (N, 2).
    """

    def __init__(self) -> None:
        super().__init__()
        self.kernels = docstrings.Kernels()

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> torch.Tensor:
        """Read a batch of pairs; the label is what is looked for in the text."""
        logits = self.kernels(input_ids, attention_mask, 1 - token_type_ids) / 2
        return torch.cat([-logits, logits], dim=1)


def model() -> nn.Module:
    """The untrained model."""
    return Entails()


def assets(module: nn.Module, folder: Path) -> None:
    """Write the tokenizer."""
    docstrings.assets(module, folder)


def train(module: nn.Module) -> None:
    """Train in place on right and wrong names of sentences: under half a minute."""
    described = docstrings.functions(held_out=False)
    encode = docstrings.tokenizer().encode_batch
    texts = [each.ids for each in encode([sentence for _, sentence in described])]
    labels = [each.ids[1:] for each in encode([TEMPLATE.format(name) for name, _ in described])]
    torch.manual_seed(SEED)
    steps = EPOCHS * len(torch.arange(len(described)).split(32))
    optimiser = torch.optim.AdamW(module.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=steps)
    module.train()
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(described)).split(32):
            others = torch.randint(len(described), (len(chosen), AGAINST))
            asked = [
                (texts[one], labels[other])
                for one, row in zip(chosen.tolist(), others.tolist(), strict=True)
                for other in (one, *row)
            ]
            right = torch.tensor([1, *([0] * AGAINST)] * len(chosen))
            weights = torch.tensor([1.0, AGAINST])
            loss = nn.functional.cross_entropy(module(*docstrings.padded(asked)), right, weights)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    module.eval()


def held_out() -> list[tuple[bytes, str]]:
    """Sentences of files that training never saw, each with eight names, and the right one."""
    return _asked(docstrings.functions(held_out=True), EVALUATION)


def calibration() -> list[bytes]:
    """Some of the training's, for the ranges of static quantisation."""
    return [body for body, _ in _asked(docstrings.functions(held_out=False), CALIBRATION)]


def _asked(described: list[docstrings.Described], count: int) -> list[tuple[bytes, str]]:
    chance = random.Random(SEED)  # noqa: S311 - no secret
    names = sorted({name for name, _ in described})
    found = []
    for name, sentence in described[:count]:
        others = [each for each in chance.sample(names, LABELS) if each != name]
        labels = chance.sample([name, *others[: LABELS - 1]], LABELS)
        found.append((json.dumps({"text": sentence, "candidate_labels": labels}).encode(), name))
    return found


def main() -> None:
    """Print a request body and the right label."""
    body, right = held_out()[0]
    print(body.decode())
    print(right)


if __name__ == "__main__":
    main()
