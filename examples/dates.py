"""Dates as 24 locales write them, in figures or words, to dates as ISO 8601 writes them.

How a locale writes a date comes from the data that the package babel ships: Unicode's CLDR. The
model is an encoder–decoder of letters: it reads "3 février 1987" and writes "1987-02-03".
"""

from __future__ import annotations

import datetime
import random
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

SEED = 0
LOCALES = (
    "bg", "cs", "da", "de", "el", "en_GB", "es", "et", "fi", "fr", "hr", "hu", "it", "ja", "lt",
    "nl", "pl", "pt", "ro", "ru", "sk", "sv", "tr", "uk",
)  # fmt: skip
FORMS = ("medium", "long", "full")
FIRST, DAYS = datetime.date(1950, 1, 1), 100 * 365
HELD_OUT = 7  # every seventh day
TRAINING, EVALUATION = 12_000, 300
SPECIAL = ("<pad>", "</s>", "<s>", "<unk>")
PAD, END, START, UNKNOWN = range(len(SPECIAL))
LAYERS, HEADS, SIZE, WIDTH = 2, 4, 16, 64
LONGEST, TARGET = 64, 16  # tokens
EPOCHS = 8

Pair = tuple[str, str]
"""A date as a locale writes it, and as ISO 8601 does."""


class Layer(nn.Module):
    """Attention to what a text has so far, or to all of a source, and a layer behind it."""

    def __init__(self, looks: bool) -> None:
        super().__init__()
        self.attention, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.widen, self.narrow = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.first, self.last = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        if looks:
            self.look, self.source = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 2 * WIDTH)
            self.between, self.looked = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH)


class Translator(nn.Module):
    """Reads a text's letters and writes others; called as `handlers.generation.sourced` says."""

    def __init__(self, tokens: int, longest: int = LONGEST) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(tokens, WIDTH), nn.Embedding(longest, WIDTH)
        self.reads = nn.ModuleList(Layer(False) for _ in range(LAYERS))
        self.writes = nn.ModuleList(Layer(True) for _ in range(LAYERS))
        self.logits = nn.Linear(WIDTH, tokens)

    def forward(
        self,
        source_ids: torch.Tensor,
        source_tokens: torch.Tensor,
        cached_source: torch.Tensor,
        input_ids: torch.Tensor,
        past_tokens: torch.Tensor,
        *past: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """Turn a source, tokens and caches into logits, and what is new in the caches."""
        counted = torch.arange(source_ids.shape[1], device=source_ids.device)
        given = counted < source_tokens[:, None]
        x = self.read(self.tokens(source_ids), given)
        return self.write(x, given, cached_source, input_ids, past_tokens, past)

    def write(
        self,
        x: torch.Tensor,
        given: torch.Tensor,
        cached_source: torch.Tensor,
        input_ids: torch.Tensor,
        past_tokens: torch.Tensor,
        past: Sequence[torch.Tensor],
    ) -> tuple[torch.Tensor, ...]:
        """Write behind tokens, from what was read, (N, S, WIDTH), where it is given, (N, S)."""
        count = partial(torch.arange, device=input_ids.device)
        half, new = 2 * LAYERS, count(input_ids.shape[1])
        known = count(past[half].shape[2]) < cached_source[:, None]
        seen = torch.cat([known, given], dim=1)[:, None, None]
        known = (count(past[0].shape[2]) < past_tokens[:, None])[:, None, None]
        before = (new <= new[:, None]).expand(input_ids.shape[0], 1, -1, -1)
        mask = torch.cat([known.expand(-1, 1, input_ids.shape[1], -1), before], dim=3)
        places = (past_tokens[:, None] + new).clamp(max=self.places.num_embeddings - 1)
        y = self.tokens(input_ids) + self.places(places)
        made: list[torch.Tensor] = []
        read: list[torch.Tensor] = []
        layers: Any = self.writes
        for number, layer in enumerate(layers):
            at = 2 * number
            query, key, value = _split(layer.attention(layer.first(y)), 3)
            y = y + layer.out(_attend(query, key, value, mask, past[at : at + 2]))
            made += [key, value]
            key, value = _split(layer.source(x), 2)
            (query,) = _split(layer.look(layer.between(y)), 1)
            cached = past[half + at : half + at + 2]
            y = y + layer.looked(_attend(query, key, value, seen, cached))
            read += [key, value]
            y = y + layer.narrow(torch.relu(layer.widen(layer.last(y))))
        return (self.logits(y), *made, *read)

    def read(self, x: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
        """Read (N, S, WIDTH), where it is given, (N, S)."""
        places = torch.arange(x.shape[1], device=x.device)
        mask = (given | (places == 0))[:, None, None]  # attention to nothing would make NaN
        x = x + self.places(places)
        layers: Any = self.reads
        for layer in layers:
            query, key, value = _split(layer.attention(layer.first(x)), 3)
            x = x + layer.out(_attend(query, key, value, mask))
            x = x + layer.narrow(torch.relu(layer.widen(layer.last(x))))
        return x


def _split(x: torch.Tensor, parts: int) -> list[torch.Tensor]:
    """(N, T, parts · WIDTH) -> for each part (N, HEADS, T, SIZE)."""
    return list(x.unflatten(2, (parts, HEADS, SIZE)).permute(2, 0, 3, 1, 4).unbind(0))


def _attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    past: Sequence[torch.Tensor] = (),
) -> torch.Tensor:
    """Attention to what is cached and what is new, (N, T, WIDTH)."""
    if past:
        key, value = torch.cat([past[0], key], dim=2), torch.cat([past[1], value], dim=2)
    found = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return found.transpose(1, 2).flatten(2)


def nothing_cached(rows: int) -> list[torch.Tensor]:
    """The caches of texts that begin: of one token each, which counts for nothing."""
    return [torch.zeros(rows, HEADS, 1, SIZE) for _ in range(4 * LAYERS)]


@cache
def _locale(name: str) -> Any:
    """A locale of babel's with data of its own; see `quantities`."""
    from babel import Locale, localedata

    localedata._cache.clear()
    locale = Locale.parse(name)
    _ = locale.date_formats  # reads the data, which the locale keeps
    localedata._cache.clear()
    return locale


def pairs(count: int, held_out: bool) -> list[Pair]:
    """Dates of chance, always the same: of days that are held out, or of the others."""
    from babel.dates import format_date

    chance = random.Random(f"{SEED} {held_out}")  # noqa: S311 - no secret
    found: list[Pair] = []
    while len(found) < count:
        number = chance.randrange(DAYS)
        if (number % HELD_OUT == 0) != held_out:
            continue
        day = FIRST + datetime.timedelta(number)
        locale = _locale(chance.choice(LOCALES))
        found.append((format_date(day, chance.choice(FORMS), locale), day.isoformat()))
    return found


@cache
def tokenizer() -> Any:
    """A token for each letter that training has, and those that texts begin and end with."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
    from tokenizers.processors import TemplateProcessing

    letters = sorted({letter for pair in pairs(TRAINING, False) for letter in "".join(pair)})
    numbers = {token: number for number, token in enumerate([*SPECIAL, *letters])}
    made = Tokenizer(models.WordLevel(numbers, unk_token=SPECIAL[UNKNOWN]))
    made.normalizer = normalizers.NFC()
    made.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    made.decoder = decoders.Fuse()
    made.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", END)])
    made.add_special_tokens(list(SPECIAL))
    return made


def model() -> nn.Module:
    """The untrained model."""
    return Translator(tokenizer().get_vocab_size())


def assets(module: nn.Module, folder: Path) -> None:
    """Write the tokenizer."""
    tokenizer().save(str(folder / "tokenizer.json"))


def train(module: nn.Module) -> None:
    """Train in place on dates of chance: about a minute of one core."""
    made = pairs(TRAINING, False)
    sources, targets = (
        [torch.tensor(each.ids) for each in tokenizer().encode_batch([pair[i] for pair in made])]
        for i in (0, 1)
    )
    torch.manual_seed(SEED)
    order = torch.tensor(sorted(range(len(made)), key=lambda place: len(sources[place])))
    batches = order.split(64)  # of like lengths together: less is padded
    optimiser = torch.optim.AdamW(module.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, 3e-3, total_steps=EPOCHS * len(batches)
    )
    module.train()
    for _ in range(EPOCHS):
        for number in torch.randperm(len(batches)).tolist():
            chosen = batches[number].tolist()
            loss = _loss(module, [sources[i] for i in chosen], [targets[i] for i in chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    module.eval()


def _loss(
    module: nn.Module, sources: list[torch.Tensor], targets: list[torch.Tensor]
) -> torch.Tensor:
    """The loss of all next tokens, each from those before it and the source."""
    rows, none = len(sources), torch.zeros(len(sources), dtype=torch.int64)
    counts = torch.tensor([len(each) for each in sources])
    wanted = pad_sequence(targets, batch_first=True, padding_value=PAD)
    given = torch.cat([torch.full((rows, 1), START), wanted[:, :-1]], dim=1)
    ids = pad_sequence(sources, batch_first=True, padding_value=PAD)
    logits = module(ids, counts, none, given, none, *nothing_cached(rows))[0]
    return functional.cross_entropy(logits.transpose(1, 2), wanted, ignore_index=PAD)


def held_out() -> list[tuple[bytes, str]]:
    """Dates of days that training never saw, and what they should become."""
    return [(text.encode(), iso) for text, iso in pairs(EVALUATION, True)]


def main() -> None:
    """Print some dates, and what they should become."""
    for body, iso in held_out()[:10]:
        print(body.decode(), "->", iso)


if __name__ == "__main__":
    main()
