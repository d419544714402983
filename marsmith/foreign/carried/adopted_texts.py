"""Texts as TorchServe's text_classifier reads them: cleaned, cut into words, and numbered.

`marsmith adopt` has written this file beside its recipe. The rules are TorchServe's own.

See: `text_handler.py` and `text_classifier.py` in TorchServe's `ts/torch_handler`.
"""

from __future__ import annotations

import json
import re
import string
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from ts.handler_utils.text_utils import get_tokenizer, ngrams_iterator
from ts.torch_handler.contractions import CONTRACTION_MAP
from ts.utils.util import CLEANUP_REGEX

from handlers import labels
from handlers.errors import BadRequest
from handlers.runtimes import Tensors
from handlers.schema import setting
from handlers.task import Sample
from handlers.tasks.text_classification import (
    TextClassification,
    TextClassificationConfig,
    TextClassificationOptions,
)
from handlers.text import text
from handlers.text.tokens import Tokens

CONTRACTIONS = re.compile("|".join(CONTRACTION_MAP), re.IGNORECASE)
EXPANDED = {name.lower(): whole for name, whole in CONTRACTION_MAP.items()}
WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True, kw_only=True)
class AdoptedConfig(TextClassificationConfig):
    """How a text becomes numbers of words."""

    tokenizer: str = setting(
        "vocabulary.json",
        "A file in the archive: `words`, by their numbers, and `unknown`, that of all others.",
    )
    ngrams: int = setting(2, "The most words that have a number together.", minimum=1)


class AdoptedTexts(TextClassification):
    """Classifies texts; the model takes input_ids, (N, T) int64, and lengths, (N,) int64."""

    Config = AdoptedConfig
    config: AdoptedConfig

    def setup(self, folder: Path) -> None:
        """Read the vocabulary and the labels."""
        said = json.loads((folder / self.config.tokenizer).read_text("utf-8"))
        self.numbers = {word: number for number, word in enumerate(said["words"])}
        self.unknown: int | None = said["unknown"]
        self.split = get_tokenizer("basic_english")
        self.labels = labels.read(folder / self.config.labels) if self.config.labels else None

    def decode(
        self, instance: object, options: TextClassificationOptions
    ) -> Sample[TextClassificationOptions, Tokens]:
        """Convert a text to numbers of its words, and of its words together."""
        first, second = text.read_pair(instance)
        if second is not None:
            raise BadRequest("the model takes one text, and there are two", status=422)
        words = self.split(cleaned(first))
        ids = [self._number(each) for each in ngrams_iterator(words, self.config.ngrams)]
        if not ids:
            raise BadRequest("the text has no words in it", status=422)
        most = self.config.max_tokens
        if len(ids) > most and not options.truncate:
            raise BadRequest(
                f"the text has more than {most} tokens",
                hint="send less, or allow 'truncate'",
                status=422,
            )
        tensors = {"input_ids": torch.tensor(ids[:most])}
        return Sample(tensors, options, Tokens(len(ids) > most, [], []))

    def _number(self, word: str) -> int:
        number = self.numbers.get(word, self.unknown)
        if number is None:
            raise BadRequest(f"the model doesn't know {word[:40]!a}", status=422)
        return number

    def collate(self, samples: Sequence[Sample[object, Tokens]]) -> Tensors:
        """Combine texts into (N, T) int64, padded with 0, and their lengths, (N,)."""
        rows = [sample.tensors["input_ids"] for sample in samples]
        padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        return {"input_ids": padded, "lengths": torch.tensor([len(row) for row in rows])}

    def varying_axes(self) -> dict[str, tuple[int, ...]]:
        """The axis of the length, which differs from batch to batch."""
        return {"input_ids": (1,)}

    def example(self) -> tuple[str, bytes]:
        """A sentence; or a word that the model knows, where it takes no others."""
        if self.unknown is not None:
            return super().example()
        known = (word for word in self.numbers if self.split(cleaned(word)) == [word])
        return "text/plain", next(known, "").encode()

    def describe_input(self) -> dict[str, object]:
        """Describe what an instance may be."""
        said = super().describe_input()
        return {name: said[name] for name in said if name != "pair"}


def cleaned(given: str) -> str:
    """Remove tags, capitals, accents and punctuation; write contractions out."""
    plain = CLEANUP_REGEX.sub("", given).lower()
    plain = CONTRACTIONS.sub(lambda found: found[0][0] + EXPANDED[found[0].lower()][1:], plain)
    ascii_ = unicodedata.normalize("NFKD", plain.replace("'", "")).encode("ascii", "ignore")
    return ascii_.decode("ascii").translate(WITHOUT_PUNCTUATION)
