"""Handwritten digits and words for them: images and texts in one space of vectors, as in CLIP.

Trained are the digits' names; a request may bring any of them, in any language that was trained.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from examples.digits import SEED, embedder, split
from examples.digits import held_out as held_out_digits

NAMES = {
    "English": ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    "German": ("null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"),
}
OTHERS = ("[UNK]", "[PAD]", "this", "is", "a", "photo", "of", ".")
WIDTH = 32
SCALE = 10.0
EPOCHS = 15


def words() -> list[str]:
    """All words, in the order of their numbers."""
    return [*OTHERS, *(word for names in NAMES.values() for word in names)]


class Pairs(nn.Module):
    """Images, (N, 1, 8, 8) in [0, 1], and texts beside each -> vectors of both, of one space."""

    def __init__(self) -> None:
        super().__init__()
        self.see = embedder()
        self.read = nn.Embedding(len(words()), WIDTH)
        self.turn = nn.Linear(WIDTH, WIDTH)

    def forward(
        self, image: torch.Tensor, input_ids: torch.Tensor, attention_mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Turn images, and tokens with their mask, (N, K, T) int64, into (N, D) and (N, K, D)."""
        mask = attention_mask.unsqueeze(3)
        mean = (self.read(input_ids) * mask).sum(dim=2) / mask.sum(dim=2).clamp(min=1)
        texts: torch.Tensor = self.turn(torch.tanh(mean))
        return self.see(image), texts


def model() -> nn.Module:
    """The untrained model."""
    return Pairs()


def train(module: nn.Module) -> None:
    """Train in place: each image's vector towards its digit's names, and away from the others'."""
    pixels, digits, end = split()
    images = torch.from_numpy(pixels[:end])[:, None].float() / 255
    targets = torch.from_numpy(digits[:end])
    numbers = {word: number for number, word in enumerate(words())}
    said = [numbers[word] for word in ("this", "is", "a", "photo", "of")]
    torch.manual_seed(SEED)
    optimiser = torch.optim.AdamW(module.parameters(), lr=5e-3, weight_decay=1e-2)
    module.train()
    for epoch in range(EPOCHS):
        names = [*NAMES.values()][epoch % len(NAMES)]
        texts = torch.tensor([[*said, numbers[name], numbers["."]] for name in names])
        texts = texts if epoch % 3 else texts[:, -2:-1]  # a name alone, too
        for chosen in torch.randperm(len(images)).split(64):
            rows = texts.expand(len(chosen), -1, -1)
            seen, read = module(images[chosen], rows, torch.ones_like(rows))
            cosines = torch.nn.functional.cosine_similarity(seen.unsqueeze(1), read, dim=2)
            loss = nn.functional.cross_entropy(SCALE * cosines, targets[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    module.eval()


def assets(module: nn.Module, folder: Path) -> None:
    """Write the tokenizer: a token for each word."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.normalizers import Lowercase
    from tokenizers.pre_tokenizers import Whitespace

    numbers = {word: number for number, word in enumerate(words())}
    tokenizer = Tokenizer(WordLevel(numbers, unk_token="[UNK]"))  # noqa: S106 - no password
    tokenizer.normalizer, tokenizer.pre_tokenizer = Lowercase(), Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))


def held_out() -> list[tuple[bytes, str]]:
    """PNGs that training never saw, and the English names of their digits."""
    return [(image, NAMES["English"][int(digit)]) for image, digit in held_out_digits()]
