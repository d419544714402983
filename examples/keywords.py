"""Which keyword is missing in a line of Python: "for name [MASK] names:" wants "in".

The lines are from the sources of Python and of PyTorch, which are read and never executed; both
come with every installation, so nothing is downloaded.
"""

from __future__ import annotations

import keyword
import random
import re
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from examples import signatures, word_pieces

SEED = 0
TRAINING, EVALUATION = 12_000, 400
OF_A_FILE = 60  # lines, at most
LENGTHS = range(12, 90)  # characters of a line
VOCABULARY, MAX_TOKENS, WIDTH = 3000, 48, 64
SPECIAL = ("[PAD]", "[UNK]", "[MASK]")
EPOCHS = 3
WORD = re.compile(rf"\b(?:{'|'.join(keyword.kwlist)})\b")
CODE = re.compile(r"[^#\"'\\]*")

Line = tuple[str, str]
"""A line with a mask, and the keyword that belongs there."""


class Gaps(nn.Module):
    """Convolutions over tokens: tokens and mask, (N, T) int64 -> logits, (N, T, tokens)."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, WIDTH)
        self.layers = nn.ModuleList(
            nn.Conv1d(WIDTH, WIDTH, 3, padding=step, dilation=step) for step in (1, 2, 4, 1)
        )
        self.logits = nn.Linear(WIDTH, VOCABULARY)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Read a batch of lines, and say what may stand at each place."""
        logits: torch.Tensor = self.logits(self.read(input_ids, attention_mask))
        return logits

    def read(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """The states of tokens, (N, T, WIDTH); padding is as nothing, as beyond the ends."""
        mask = attention_mask.unsqueeze(1).to(self.logits.weight.dtype)
        states = self.words(input_ids).transpose(1, 2) * mask
        for layer in self.layers:
            states = (states + torch.relu(layer(states))) * mask
        found: torch.Tensor = states.transpose(1, 2)
        return found


def model() -> nn.Module:
    """The untrained model."""
    return Gaps()


@cache
def lines(held_out: bool) -> list[Line]:
    """Lines of the files of one part, none twice, in an order of chance that is always the same.

    Of what is held out those that training has seen all the same are left out.
    """
    seen = {line for line, _ in lines(held_out=False)} if held_out else set()
    found: dict[Line, None] = {}
    for name, path in signatures.files():
        if signatures.is_held_out(name) == held_out:
            chance = random.Random(f"{SEED} {name}")  # noqa: S311 - no secret
            for line in of_source(path.read_text("utf-8", "replace"), chance):
                if line[0] not in seen:
                    found[line] = None
    chosen = list(found)
    random.Random(SEED).shuffle(chosen)  # noqa: S311
    return chosen[: EVALUATION if held_out else TRAINING]


def of_source(source: str, chance: random.Random) -> list[Line]:
    """Some lines of a file that are code alone, each with one keyword masked."""
    found = []
    for line in map(str.strip, source.splitlines()):
        places = list(WORD.finditer(line))
        # Of a line with one word before its keyword, nobody could tell.
        if places and len(line) in LENGTHS and CODE.fullmatch(line) and line[-1] in ":)]":
            place = chance.choice(places)
            masked = f"{line[: place.start()]}[MASK]{line[place.end() :]}"
            found.append((masked, place.group()))
    return chance.sample(found, min(OF_A_FILE, len(found)))


@cache
def _tokenizer() -> Any:
    """Words in parts, and every sign on its own."""
    from tokenizers import Regex, decoders, pre_tokenizers

    words = pre_tokenizers.Split(Regex(r"\d|[^\W\d]+|[^\w\s]"), "removed", invert=True)
    texts = [line.replace("[MASK]", right) for line, right in lines(held_out=False)]
    made = word_pieces.learn([*texts, *list(keyword.kwlist) * 99], VOCABULARY, SPECIAL, words)
    made.decoder = decoders.WordPiece(cleanup=False)
    made.add_special_tokens([*SPECIAL])
    return made


def assets(module: nn.Module, folder: Path) -> None:
    """Write the tokenizer."""
    _tokenizer().save(str(folder / "tokenizer.json"))


def train(module: Gaps) -> None:
    """Train in place to fill in what is missing: under half a minute."""
    made, tokenizer = lines(held_out=False), _tokenizer()
    encoded = [
        torch.tensor(each.ids[:MAX_TOKENS])
        for each in tokenizer.encode_batch([line for line, _ in made])
    ]
    right = torch.tensor([tokenizer.token_to_id(word) for _, word in made])
    torch.manual_seed(SEED)
    steps = EPOCHS * len(torch.arange(len(made)).split(64))
    optimiser = torch.optim.AdamW(module.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=steps)
    mask = SPECIAL.index("[MASK]")
    module.train()
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(made)).split(64):
            ids = pad_sequence([encoded[place] for place in chosen.tolist()], batch_first=True)
            gaps = (ids == mask).int().argmax(dim=1)
            states = module.read(ids, (ids != 0).long())[torch.arange(len(ids)), gaps]
            loss = nn.functional.cross_entropy(module.logits(states), right[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    module.eval()


def held_out() -> list[tuple[bytes, str]]:
    """Lines of files that training never saw, and the keyword that is missing."""
    return [(line.encode(), right) for line, right in lines(held_out=True)]


def main() -> None:
    """Print some lines, and what is missing."""
    for body, right in held_out()[:10]:
        print(f"{body.decode()}  # {right}")


if __name__ == "__main__":
    main()
