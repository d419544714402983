"""A language model small enough to run a thousand times, and its tokenizer of bytes."""

from __future__ import annotations

import functools
from typing import Any

import torch

from handlers.generation import sampling
from handlers.generation.decoding import CacheShape, Decoder, TokenSequence
from handlers.generation.detokenizer import Detokenizer
from handlers.runtimes.eager import ModuleRuntime

END = "<|endoftext|>"
SHAPE = CacheShape(layers=2, heads=2, size=8)
TOKENS = 257


class Net(torch.nn.Module):
    """A causal language model with random weights, of a context of 256.

    It computes in float64: its choices don't hang on the last bits of float32, which another batch
    or another CPU's kernels would change.
    """

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        width = SHAPE.heads * SHAPE.size
        self.tokens, self.places = torch.nn.Embedding(TOKENS, width), torch.nn.Embedding(256, width)
        parts = (torch.nn.Linear(width, 3 * width) for _ in range(SHAPE.layers))
        self.attention = torch.nn.ModuleList(parts)
        self.logits = torch.nn.Linear(width, TOKENS)
        self.double()

    def forward(
        self, input_ids: torch.Tensor, past_tokens: torch.Tensor, *past: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        rows, count = input_ids.shape
        new = torch.arange(count)
        known = (torch.arange(past[0].shape[2]) < past_tokens[:, None])[:, None, None]
        before = (new <= new[:, None]).expand(rows, 1, -1, -1)
        mask = torch.cat([known.expand(-1, 1, count, -1), before], dim=3)
        x = self.tokens(input_ids) + self.places((past_tokens[:, None] + new).clamp(max=255))
        made = []
        for layer, attention in enumerate(self.attention):
            parts = attention(x).unflatten(2, (3, SHAPE.heads, SHAPE.size)).permute(2, 0, 3, 1, 4)
            keys = torch.cat([past[2 * layer].double(), parts[1]], dim=2)
            values = torch.cat([past[2 * layer + 1].double(), parts[2]], dim=2)
            found = torch.nn.functional.scaled_dot_product_attention(
                parts[0], keys, values, attn_mask=mask
            )
            x = x + found.transpose(1, 2).flatten(2)
            made += [parts[1].float(), parts[2].float()]
        return (self.logits(x).float(), *made)


@functools.cache
def runtime() -> ModuleRuntime:
    """The model, as a handler has it."""
    return ModuleRuntime(Net().eval(), torch.device("cpu"))


@functools.cache
def tokenizer() -> Any:
    """One token for each byte, and one that ends a text, number 0."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    numbers = {token: number for number, token in enumerate([END, *alphabet])}
    made = Tokenizer(models.BPE(numbers, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([END])
    return made


def row(
    prompt: str,
    limit: int = 12,
    options: sampling.SamplingOptions | None = None,
    stops: tuple[str, ...] = (),
    *,
    score: bool = False,
) -> TokenSequence:
    """A row that is yet to begin."""
    ids = tokenizer().encode(prompt).ids
    writer = Detokenizer(tokenizer(), ids, stops)
    return TokenSequence(ids, options or sampling.SamplingOptions(), limit, writer, score)


def decoder(slots: int = 4, run: Any = None, *, keeps: bool = False) -> Decoder:
    """What writes rows with the model, or with another."""
    return Decoder(run or runtime(), SHAPE, slots, {0}, keeps=keeps)


def finished(*rows: TokenSequence, slots: int = 4) -> list[TokenSequence]:
    """The rows, written to their ends."""
    writes = decoder(slots)
    for each in rows:
        writes.add(each)
    while writes.busy:
        writes.step()
    return list(rows)
