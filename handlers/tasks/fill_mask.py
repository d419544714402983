"""Filling masks: a text with mask tokens in, the likeliest tokens for each of them out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch

from handlers.errors import BadRequest, LoadError, ModelError
from handlers.runtimes import Tensors
from handlers.schema import JsonObject, object_schema, setting
from handlers.task import Answer, Sample
from handlers.text import text
from handlers.text.handler import TextHandler, length

DECIMALS = 4  # of logits, by which tokens are ranked
SPARE = 16  # tokens that are looked at beyond those wanted: some logits are nearly the same
CLEANED = {" .": ".", " ?": "?", " !": "!", " ,": ",", " ' ": "'", " n't": "n't", " 'm": "'m",
           " 's": "'s", " 've": "'ve", " 're": "'re"}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class FillMaskConfig(text.TextConfig):
    """How a text becomes tokens, and which of them is a mask."""

    mask_token: str = setting("[MASK]", "The token that stands for what is to be filled in.")
    max_masks: int = setting(16, "The most masks in one text.", minimum=1)
    clean_up: bool = setting(False, "Write no blank before a sign such as a full stop.")


@dataclass(frozen=True, kw_only=True)
class FillMaskOptions(text.TextOptions):
    """The options of a request."""

    top_k: int = setting(5, "How many tokens for each mask.", minimum=1, maximum=100)
    targets: tuple[str, ...] | None = setting(
        None,
        "Choose among these alone; of one that isn't a token, the first of its tokens counts.",
        max_items=1000,
    )


@dataclass(frozen=True)
class Filled(Answer):
    """The likeliest tokens for each mask, best first, with their probabilities.

    All lists have an item for each token: of the first mask, then of the next. `mask` says which;
    `sequence` is the text with this mask filled in, other masks as they were. `tokens` is how many
    the model was given; `truncated` says that there were more.
    """

    mask: list[int]
    score: list[float]
    token: list[int]
    token_str: list[str]
    sequence: list[str]
    tokens: int
    truncated: bool

    ragged: ClassVar[Mapping[str, tuple[int, ...]]] = dict.fromkeys(
        ("mask", "score", "token", "token_str", "sequence"), ()
    )

    def to_json(self) -> JsonObject:
        """A list for each mask, with one object for each token."""
        masks: list[list[JsonObject]] = [[] for _ in {*self.mask}]
        rows = zip(self.score, self.token, self.token_str, self.sequence, strict=True)
        for mask, (score, token, written, sequence) in zip(self.mask, rows, strict=True):
            masks[mask].append(
                {"score": score, "token": token, "token_str": written, "sequence": sequence}
            )
        return {"masks": masks, "tokens": self.tokens, "truncated": self.truncated}

    @classmethod
    def schema(cls) -> JsonObject:
        """An object with a list for each mask."""
        item = object_schema(
            {
                "score": {"type": "number", "minimum": 0, "maximum": 1},
                "token": {"type": "integer", "minimum": 0},
                "token_str": {"type": "string"},
                "sequence": {"type": "string"},
            }
        )
        masks: JsonObject = {"type": "array", "items": {"type": "array", "items": item}}
        return object_schema(
            {
                "masks": masks,
                "tokens": {"type": "integer", "minimum": 1},
                "truncated": {"type": "boolean"},
            }
        )


@dataclass(frozen=True)
class Masks:
    """What an answer needs of a text.

    Attributes:
        places: of its masks, among its tokens.
        targets: the numbers of the tokens to choose among; None for all.
        truncated: whether tokens were left out.
    """

    places: list[int]
    targets: list[int] | None
    truncated: bool


class _Choice(NamedTuple):
    """A token for a mask, and its probability."""

    token: int
    score: float


_Sample = Sample[FillMaskOptions, Masks]


class FillMask(TextHandler[FillMaskConfig, FillMaskOptions, Masks]):
    """Fills in masks; the model answers logits of all tokens at each place, (N, T, tokens).

    An instance is a string, or bytes of UTF-8, with the mask token in it. Of several masks each is
    filled in for itself. Tokens are ranked by their logits; those that are the same, to four
    decimals, by their numbers.
    """

    Config = FillMaskConfig
    Options = FillMaskOptions
    Answer = Filled

    def setup(self, folder: Path) -> None:
        """Read the tokenizer, and find its mask."""
        super().setup(folder)
        mask = self.encoder.tokenizer.token_to_id(self.config.mask_token)
        if mask is None:
            raise LoadError(f"the tokenizer has no token {self.config.mask_token!r}")
        self.mask = mask

    def decode(self, instance: object, options: FillMaskOptions) -> _Sample:
        """Convert a text to tokens, and find its masks."""
        written, mask = text.read(instance), self.config.mask_token
        tensors, tokens = self.encoder.encode(written, truncate=options.truncate)
        ids = tensors["input_ids"].tolist()
        places = [place for place, number in enumerate(ids) if number == self.mask]
        if not places:
            where = f"the first {self.config.max_tokens} tokens of " if tokens.truncated else ""
            raise BadRequest(f"there is no {mask} in {where}the text", status=422)
        if len(places) > self.config.max_masks:
            raise BadRequest(
                f"{len(places)} masks; at most {self.config.max_masks} are allowed", status=413
            )
        targets = None if options.targets is None else self._targets(options.targets)
        return Sample(tensors, options, Masks(places, targets, tokens.truncated))

    def _targets(self, targets: Sequence[str]) -> list[int]:
        """The number of each target, or of its first token, once."""
        found: dict[int, None] = {}
        for target in map(text.read, targets):
            number = self.encoder.tokenizer.token_to_id(target)
            if number is None:
                ids = self.encoder.tokenizer.encode(target, add_special_tokens=False).ids
                if not ids:
                    raise BadRequest(f"the target {target[:40]!a} has no tokens", status=422)
                number = ids[0]
            found[number] = None
        if not found:
            raise BadRequest("there are no targets", hint="leave them out for all", status=422)
        return sorted(found)

    def answer(self, outputs: Tensors, samples: Sequence[_Sample]) -> list[Filled]:
        """Choose the `top_k` tokens for each mask."""
        logits = next(iter(outputs.values()))
        longest = max(length(each.tensors) for each in samples)
        if logits.ndim != 3 or len(logits) != len(samples) or logits.shape[1] < longest:
            raise ModelError(f"the model must answer (N, T, tokens), not {tuple(logits.shape)}")
        return [self._filled(*each) for each in zip(logits, samples, strict=True)]

    def _filled(self, logits: torch.Tensor, sample: _Sample) -> Filled:
        meta, ids = sample.meta, sample.tensors["input_ids"].tolist()
        chosen = [
            (mask, each)
            for mask, row in enumerate(logits[meta.places].float())
            for each in _best(row, meta.targets, sample.options.top_k)
        ]
        return Filled(
            [mask for mask, _ in chosen],
            [each.score for _, each in chosen],
            [each.token for _, each in chosen],
            [self._written([each.token]) for _, each in chosen],
            [self._sequence(ids, meta.places, mask, each.token) for mask, each in chosen],
            len(ids),
            meta.truncated,
        )

    def _sequence(self, ids: Sequence[int], places: Sequence[int], mask: int, token: int) -> str:
        """The text with one mask filled in; special tokens stay where there are other masks."""
        filled = [*ids]
        filled[places[mask]] = token
        kept = [number for number in filled if number != self.encoder.pad_id]
        return self._written(kept, plain=len(places) == 1)

    def _written(self, ids: list[int], *, plain: bool = False) -> str:
        found = str(self.encoder.tokenizer.decode(ids, skip_special_tokens=plain))
        for signs, clean in CLEANED.items() if self.config.clean_up else ():
            found = found.replace(signs, clean)
        return found

    def example(self) -> tuple[str, bytes]:
        """A sentence with a mask."""
        return "text/plain", f"A model is only as useful as its {self.config.mask_token}.".encode()

    def describe_input(self) -> dict[str, object]:
        """Describe what an instance may be, and how much of it is read."""
        masked = {"masked": f"a text with {self.config.mask_token} in it"}
        return {**masked, **super().describe_input(), "max_masks": self.config.max_masks}


def _best(logits: torch.Tensor, targets: Sequence[int] | None, count: int) -> list[_Choice]:
    """The likeliest tokens of all, (tokens,), or of some."""
    if not logits.isfinite().any() or logits.isnan().any():
        raise ModelError("the model's answer is not finite", hint="check the input")
    scores = torch.softmax(logits, dim=0)
    known = torch.arange(len(logits)) if targets is None else torch.tensor(targets)
    if int(known[-1]) >= len(logits):
        raise ModelError(f"the tokenizer has a token {int(known[-1])}, the model {len(logits)}")
    among = logits[known].double().round(decimals=DECIMALS)
    likeliest = known[among.topk(min(count + SPARE, len(known))).indices].tolist()
    rank = {number: -round(float(logits[number]), DECIMALS) for number in likeliest}
    chosen = sorted(likeliest, key=lambda number: (rank[number], number))[:count]
    return [_Choice(number, float(scores[number])) for number in chosen]
