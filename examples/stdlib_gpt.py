"""A small GPT that writes Python: trained on the source of Python's standard library.

The files come with the interpreter, so nothing is downloaded, and are read, never executed;
another version of Python has slightly other files.
"""

from __future__ import annotations

import json
import random
import sysconfig
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

SEED = 0
SKIPPED = {"site-packages", "dist-packages", "test", "tests", "idle_test"}
SKIPPED |= {"encodings", "pydoc_data", "lib2to3"}  # tables, prose, and what is a copy
HELD_OUT = 10  # every tenth file
MAX_BYTES = 150_000  # of a file; the few larger ones would be most of the text
END = "<|endoftext|>"
VOCABULARY = 1024
CONTEXT = 256  # tokens, some 800 characters
EXCERPT = 500  # characters of a held-out file that are scored
STEPS, BATCH = 400, 8


class Layer(nn.Module):
    """Attention over what is cached and what is new, and what is made of it.

    Args:
        width: of a token's vector.
        heads: of attention.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.make = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width)
        )

    def forward(
        self,
        x: torch.Tensor,
        turns: tuple[torch.Tensor, torch.Tensor],
        mask: torch.Tensor,
        past: tuple[torch.Tensor, ...],
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """States, (N, T, width), to new ones, with new keys and values, (N, heads, T, size)."""
        parts = self.queries(self.before(x)).unflatten(2, (3, self.heads, -1))
        parts = parts.permute(2, 0, 3, 1, 4)
        query, key, value = turned(parts[0], *turns), turned(parts[1], *turns), parts[2]
        if past:
            # Apart, because putting them together would copy the whole cache for each token.
            room = past[0].shape[2]
            scores = torch.cat([query @ past[0].mT, query @ key.mT], dim=3)
            weights = (scores / query.shape[3] ** 0.5 + mask).softmax(dim=3)
            found = weights[..., :room] @ past[1] + weights[..., room:] @ value
        else:
            found = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.out(found.transpose(1, 2).flatten(2))
        return x + self.make(self.between(x)), key, value


def turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Queries or keys, (N, heads, T, size), turned by their places, (N, 1, T, size / 2).

    See: J. Su et al., RoFormer, 2021.
    """
    one, other = x.chunk(2, dim=3)
    return torch.cat([one * cos - other * sin, one * sin + other * cos], dim=3)


class Gpt(nn.Module):
    """A causal language model; see `handlers.generation.decoding` for what it is called with.

    Args:
        vocabulary: how many tokens there are.
        width: of a token's vector.
        layers: as many.
        heads: of attention.
    """

    speeds: torch.Tensor

    def __init__(self, vocabulary: int, width: int = 128, layers: int = 3, heads: int = 4) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.layers = nn.ModuleList(Layer(width, heads) for _ in range(layers))
        self.norm, self.logits = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        self.logits.weight = self.tokens.weight  # what is read is written
        nn.init.normal_(self.tokens.weight, std=0.02)
        size = width // heads // 2
        self.register_buffer("speeds", 10_000 ** (-torch.arange(size) / size), persistent=False)

    def forward(
        self, input_ids: torch.Tensor, past_tokens: torch.Tensor, *past: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Logits, (N, T, vocabulary), and of each layer new keys and values."""
        count = partial(torch.arange, device=input_ids.device)
        new = count(input_ids.shape[1])
        mask = torch.zeros(0)
        if past:
            known = count(past[0].shape[2]) < past_tokens[:, None]
            before = (new <= new[:, None])[None].expand(input_ids.shape[0], -1, -1)
            seen = torch.cat([known[:, None].expand(-1, input_ids.shape[1], -1), before], dim=2)
            mask = torch.where(seen, 0.0, -1e9)[:, None]
        angles = (past_tokens[:, None] + new)[:, None, :, None] * self.speeds
        turns = angles.cos(), angles.sin()
        x, made = self.tokens(input_ids), []
        for number, layer in enumerate(self.layers):
            x, key, value = layer(x, turns, mask, past[2 * number : 2 * number + 2])
            made += [key, value]
        return (self.logits(self.norm(x)), *made)


def model() -> nn.Module:
    """The untrained model: 0.7 million parameters."""
    return Gpt(VOCABULARY)


@cache
def files() -> list[str]:
    """The library's source, in an order of chance that is always the same."""
    root = Path(sysconfig.get_path("stdlib"))
    found = {
        path.read_text("utf-8", "replace")
        for path in sorted(root.rglob("*.py"))
        if not SKIPPED & set(path.relative_to(root).parts) and path.stat().st_size <= MAX_BYTES
    }
    texts = sorted(found)
    random.Random(SEED).shuffle(texts)  # noqa: S311 - no secret
    return texts


def training() -> list[str]:
    """The files that are trained on."""
    return [text for place, text in enumerate(files()) if place % HELD_OUT]


@cache
def tokenizer() -> Any:
    """Byte pairs of the training's files; before every text stands the token that ends one."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from tokenizers.processors import TemplateProcessing

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(training(), trainer)
    made.post_processor = TemplateProcessing(single=f"{END} $A", special_tokens=[(END, 0)])
    return made


def train(module: nn.Module) -> None:
    """Train in place on excerpts of chance: a minute or two."""
    encodings = tokenizer().encode_batch(training())
    stream = torch.tensor([number for each in encodings for number in each.ids])
    torch.manual_seed(SEED)
    inner = [weight for name, weight in module.named_parameters() if "layers" in name]
    matrices = [weight for weight in inner if weight.dim() == 2]
    speeds = [torch.zeros_like(weight) for weight in matrices]
    known = {id(weight) for weight in matrices}
    rest = [weight for weight in module.parameters() if id(weight) not in known]
    optimiser = torch.optim.AdamW(rest, betas=(0.9, 0.95), weight_decay=0.0)
    module.train()
    nothing = torch.zeros(BATCH, dtype=torch.int64)
    for step in range(STEPS):
        begins = torch.randint(len(stream) - CONTEXT, (BATCH,))
        chosen = stream[begins[:, None] + torch.arange(CONTEXT + 1)]
        logits = module(chosen[:, :-1], nothing)[0]
        loss = functional.cross_entropy(logits.flatten(0, 1), chosen[:, 1:].flatten())
        module.zero_grad()
        loss.backward()
        pace = min(1.0, (step + 1) / 20, 1.5 * (1 - step / STEPS))
        optimiser.param_groups[0]["lr"] = 6e-3 * pace
        optimiser.step()
        for weight, speed in zip(matrices, speeds, strict=True):
            turn(weight, speed, 0.02 * pace)
    module.eval()


@torch.no_grad()
def turn(weight: torch.Tensor, speed: torch.Tensor, rate: float) -> None:
    """One step of Muon, in float32: along what the gradient would be, were it orthogonal.

    Half of the steps that AdamW takes are enough. torch.optim.Muon computes in bfloat16, which
    CPUs without instructions for it do many times slower.

    See: K. Jordan et al., Muon: an optimizer for hidden layers, 2024.
    """
    speed.lerp_(weight.grad, 0.05)  # type: ignore[arg-type]
    way = weight.grad.lerp(speed, 0.95)  # type: ignore[union-attr]
    tall = way.shape[0] > way.shape[1]
    way = way.T if tall else way
    way = way / (way.norm() + 1e-7)
    for _ in range(5):
        square = way @ way.T
        way = 3.4445 * way + (-4.775 * square + 2.0315 * square @ square) @ way
    scale = max(1.0, weight.shape[0] / weight.shape[1]) ** 0.5
    weight.add_(way.T if tall else way, alpha=-rate * scale)


def assets(module: nn.Module, folder: Path) -> None:
    """Write the tokenizer."""
    tokenizer().save(str(folder / "tokenizer.json"))


def excerpts() -> list[str]:
    """Of each held-out file a part of chance, which begins with a line; no training file has it."""
    chance, found = random.Random(SEED), []  # noqa: S311 - no secret
    for text in files()[::HELD_OUT]:
        lines = text.splitlines(keepends=True)
        begin = chance.randrange(max(1, len(lines) - 30))
        part = "".join(lines[begin:])[:EXCERPT]
        fits = len(part) > EXCERPT // 2 and len(tokenizer().encode(part).ids) <= CONTEXT
        if fits and not any(part in each for each in training()):
            found.append(part)
    return found


def held_out() -> list[tuple[bytes, str]]:
    """Requests to score text that training never saw, and that text."""
    options = {"max_new_tokens": 0, "score": True}
    return [(json.dumps({"data": e, "parameters": options}).encode(), e) for e in excerpts()]


def main() -> None:
    """Print a request that begins a function, and one that scores."""
    print(json.dumps({"data": "def read_text(self, ", "parameters": {"stream": True}}))
    print(held_out()[0][0].decode())


if __name__ == "__main__":
    main()
