"""Dates, times, money, percentages and measures in text, as 32 locales write them.

What is to be found, and the words around it, come from the locale data that the package babel
ships: Unicode's CLDR. A text is made of a locale's own names and of its own punctuation; its
words follow each other by chance, so that a model must know what it finds by its form.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import random
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from examples import word_pieces

SEED = 0
LOCALES = (
    "ar", "bg", "bn", "cs", "da", "de", "el", "en", "es", "fa", "fi", "fr", "he", "hi", "hu", "it",
    "ja", "ka", "ko", "lt", "nl", "pl", "pt", "ro", "ru", "sv", "ta", "th", "tr", "uk", "vi", "zh",
)  # fmt: skip
KINDS = ("DATE", "TIME", "MONEY", "PERCENT", "MEASURE")
LABELS = ["O", *(f"{place}-{kind}" for kind in KINDS for place in "BI")]
CURRENCIES = ("EUR", "USD", "GBP", "JPY", "INR", "BRL", "CHF", "KRW", "CNY", "TRY", "PLN", "ILS")
UNITS = (
    "length-kilometer", "length-meter", "length-centimeter", "length-mile", "mass-kilogram",
    "mass-gram", "volume-liter", "duration-hour", "duration-minute", "duration-day",
    "temperature-celsius", "speed-kilometer-per-hour",
)  # fmt: skip
DIGITS = ("latn", "default")  # ours, or those of the locale
HELD_OUT = 5  # every fifth name and value, by its hash
TRAINING, EVALUATION, CALIBRATION = 16_000, 600, 160
VOCABULARY = 8000
SPECIAL = ("[PAD]", "[UNK]")
EPOCHS = 3
DIRECTION = "\u200e\u200f"  # marks of it, which nobody sees

Piece = tuple[str, str]
"""A text, and its kind; of what isn't to be found, ""."""
Entity = dict[str, Any]
"""`label`, and `start` and `end` in characters, as an answer has them."""


class Tagger(nn.Module):
    """Convolutions that see ever farther: tokens and mask, (N, T) int64 -> (N, T, labels).

    See: E. Strubell et al., Fast and Accurate Entity Recognition with Iterated Dilated
    Convolutions, 2017.
    """

    def __init__(self, vocabulary: int = VOCABULARY, width: int = 64) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.embedding.weight, std=0.5)
        self.dropout = nn.Dropout(0.1)
        self.layers = nn.ModuleList(
            nn.Conv1d(width, width, 3, padding=step, dilation=step) for step in (1, 2, 4, 8, 1)
        )
        self.classifier = nn.Linear(width, len(LABELS))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Logits of each token's label; padding is as nothing, as beyond the ends."""
        mask = attention_mask.unsqueeze(1).to(self.embedding.weight.dtype)
        states = self.dropout(self.embedding(input_ids)).transpose(1, 2) * mask
        for layer in self.layers:
            states = (states + self.dropout(torch.relu(layer(states)))) * mask
        logits: torch.Tensor = self.classifier(states.transpose(1, 2))
        return logits


def model() -> nn.Module:
    """The untrained model."""
    return Tagger()


def _is_held_out(text: str) -> bool:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") % HELD_OUT == 0


@cache
def _locale(name: str) -> Any:
    """A locale of babel's with data of its own.

    In the data that babel keeps, locales share what one of them has resolved: a text would depend
    on which locales were asked for before.
    """
    from babel import Locale, localedata

    localedata._cache.clear()
    locale = Locale.parse(name)
    _ = locale.languages  # reads the data, which the locale keeps
    localedata._cache.clear()
    return locale


def _date(locale: Any, chance: random.Random) -> str:
    from babel.dates import format_date

    day = datetime.date(1950, 1, 1) + datetime.timedelta(chance.randrange(100 * 365))
    return format_date(day, chance.choice(("short", "medium", "long", "full")), locale)


def _time(locale: Any, chance: random.Random) -> str:
    from babel.dates import format_time

    moment = datetime.time(chance.randrange(24), chance.randrange(60), chance.randrange(60))
    return format_time(moment, chance.choice(("short", "medium")), locale=locale)


def _number(chance: random.Random) -> float:
    size = chance.choice((10, 100, 1000, 10**5, 10**7))
    return round(chance.uniform(1, size), chance.choice((0, 0, 1, 2)))


def _money(locale: Any, chance: random.Random) -> str:
    from babel.numbers import format_currency

    amount, currency = _number(chance), chance.choice(CURRENCIES)
    return format_currency(
        amount,
        currency,
        locale=locale,
        format_type="name" if chance.random() < 0.3 else "standard",
        numbering_system=chance.choice(DIGITS),
    )


def _percent(locale: Any, chance: random.Random) -> str:
    from babel.numbers import format_percent

    share, digits = round(chance.random(), chance.choice((2, 3))), chance.choice(DIGITS)
    return format_percent(share, None, locale, decimal_quantization=False, numbering_system=digits)


def _measure(locale: Any, chance: random.Random) -> str:
    from babel.units import format_unit

    number, unit, digits = _number(chance), chance.choice(UNITS), chance.choice(DIGITS)
    length: Literal["long", "short"] = "long" if chance.random() < 0.5 else "short"
    text = format_unit(number, unit, length, locale=locale, numbering_system=digits)
    # Where CLDR has no words for a unit, babel writes its identifier.
    return "" if unit.partition("-")[2] in text else text


WRITTEN: dict[str, Callable[[Any, random.Random], str]] = dict(
    zip(KINDS, (_date, _time, _money, _percent, _measure), strict=True)
)


def _plain_number(locale: Any, chance: random.Random) -> str:
    from babel.numbers import format_decimal

    return format_decimal(chance.randrange(1, 10 ** chance.randint(1, 6)), locale=locale)


@cache
def _names(locale: str, held_out: bool) -> tuple[str, ...]:
    """Names of places, languages, currencies, months and days: none of them to be found."""
    data = _locale(locale)
    named = [*data.territories.values(), *data.languages.values(), *data.currencies.values()]
    named += [*data.scripts.values()]
    kept = {name for name in named if _is_held_out(name) == held_out}
    dates = [
        *data.months["stand-alone"]["wide"].values(),
        *data.days["stand-alone"]["wide"].values(),
    ]
    return tuple(sorted(kept | set(dates)))


def _piece(locale: str, kind: str, held_out: bool, chance: random.Random) -> str:
    """A text of that kind that belongs to the part asked for; "" when ten weren't."""
    for _ in range(10):
        text = WRITTEN[kind](_locale(locale), chance)
        if text and _is_held_out(text) == held_out:
            return text.strip(DIRECTION)
    return ""


def sentence(chance: random.Random, held_out: bool) -> tuple[str, list[Entity]]:
    """A text in one locale, and what is to be found in it.

    Args:
        chance: decides on everything.
        held_out: whether it is made of what is held out, or of what isn't.
    """
    locale = chance.choice(LOCALES)
    pieces: list[Piece] = []
    for _ in range(chance.randint(1, 4 if held_out else 3)):
        for _ in range(chance.randint(1, 3)):
            if chance.random() < 0.15 and not (pieces and pieces[-1][1]):
                pieces.append((_plain_number(_locale(locale), chance), ""))
            pieces.append((chance.choice(_names(locale, held_out)), ""))
        kind = chance.choice(KINDS)
        pieces.append((_piece(locale, kind, held_out, chance), kind))
    if chance.random() < 0.3:
        pieces.append((chance.choice(_names(locale, held_out)), ""))
    return _joined(pieces, chance)


def _joined(pieces: Sequence[Piece], chance: random.Random) -> tuple[str, list[Entity]]:
    text, entities = "", []
    for part, kind in pieces:
        if not part:
            continue
        if text:
            text += chance.choice((" ", " ", " ", ", ", ": ", "; ", " – ", ". "))
        if kind:
            entities.append({"label": kind, "start": len(text), "end": len(text) + len(part)})
        text += part
    return text + chance.choice(("", ".")), entities


def sentences(count: int, held_out: bool, seed: int = SEED) -> list[tuple[str, list[Entity]]]:
    """Texts of chance, always the same."""
    chance = random.Random(f"{seed} {held_out}")  # noqa: S311 - no secret
    return [sentence(chance, held_out) for _ in range(count)]


@cache
def _training() -> list[tuple[str, list[Entity]]]:
    return sentences(TRAINING, False)


@cache
def _tokenizer() -> Any:
    """Parts of words and of numbers of the training's texts."""
    from tokenizers import normalizers, pre_tokenizers

    texts = [text for text, _ in _training()]
    words = [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Digits()]
    normalizer = normalizers.BertNormalizer(strip_accents=False, lowercase=False)
    return word_pieces.learn(texts, VOCABULARY, SPECIAL, pre_tokenizers.Sequence(words), normalizer)


def assets(module: nn.Module, folder: Path) -> None:
    """Write the tokenizer, and the names of labels in the order of the logits."""
    _tokenizer().save(str(folder / "tokenizer.json"))
    (folder / "labels.json").write_text(json.dumps(LABELS), "utf-8")


def train(module: nn.Module) -> None:
    """Train in place on texts of chance: some half a minute."""
    made = _training()
    encodings = _tokenizer().encode_batch([text for text, _ in made])
    tokens = [torch.tensor(encoding.ids) for encoding in encodings]
    labels = [
        torch.tensor(_labels(encoding.offsets, entities))
        for encoding, (_, entities) in zip(encodings, made, strict=True)
    ]
    torch.manual_seed(SEED)
    # Of like lengths together: less is padded.
    order = torch.tensor(sorted(range(len(tokens)), key=lambda place: len(tokens[place])))
    batches = order.split(64)
    optimiser = torch.optim.AdamW(module.parameters(), weight_decay=0.02)
    steps = EPOCHS * len(batches)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 6e-3, total_steps=steps)
    module.train()
    for _ in range(EPOCHS):
        for number in torch.randperm(len(batches)).tolist():
            chosen = batches[number].tolist()
            ids = pad_sequence([tokens[place] for place in chosen], batch_first=True)
            mask = pad_sequence(
                [torch.ones(len(tokens[i]), dtype=torch.int64) for i in chosen], True
            )
            right = pad_sequence([labels[place] for place in chosen], True, -100)
            loss = nn.functional.cross_entropy(module(ids, mask).transpose(1, 2), right)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    module.eval()


def _labels(offsets: Sequence[tuple[int, int]], entities: Sequence[Entity]) -> list[int]:
    """The label of each token: B- of the first of an entity, I- of the others, else O."""
    found = [0] * len(offsets)
    for entity in entities:
        inside = [
            place
            for place, (start, end) in enumerate(offsets)
            if start < entity["end"] and end > entity["start"]
        ]
        first = LABELS.index(f"B-{entity['label']}")
        for place in inside:
            found[place] = first if place == inside[0] else first + 1
    return found


def held_out() -> list[tuple[bytes, list[Entity]]]:
    """Texts of names and values that training never saw, and what is to be found in them."""
    return [(text.encode(), entities) for text, entities in sentences(EVALUATION, True)]


def calibration() -> list[bytes]:
    """Texts like the training's, for the ranges of static quantisation."""
    return [text.encode() for text, _ in sentences(CALIBRATION, False, seed=SEED + 1)]


def main() -> None:
    """Print a text and what is to be found in it."""
    body, entities = held_out()[0]
    text = body.decode()
    print(text)
    for entity in entities:
        print(entity["label"], text[entity["start"] : entity["end"]])


if __name__ == "__main__":
    main()
