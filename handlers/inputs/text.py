"""Text that text tasks share: from an instance to tokens, and from tokens to a padded batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from handlers import base
from handlers.batching import Sample
from handlers.errors import BadRequest, LoadError
from handlers.runtimes import Tensors
from handlers.schema import kind, setting

PAD_TOKENS = ("[PAD]", "<pad>", "<|pad|>")


@dataclass(frozen=True, kw_only=True)
class Config(base.Config):
    """How a text becomes the model's inputs."""

    tokenizer: str = setting(
        "tokenizer.json", "A file in the archive, as the tokenizers library writes it."
    )
    max_tokens: int = setting(
        256, "The most tokens the model is given, special ones included.", minimum=1
    )
    max_characters: int = setting(
        500_000, "The most characters of a request's texts together.", minimum=1
    )
    token_types: bool = setting(False, "The model takes token_type_ids as its third input.")


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a request may ask for."""

    truncate: bool = setting(True, "Cut a text of too many tokens; otherwise it is refused.")


def read(instance: Any) -> str:
    """The text of an instance.

    Raises:
        BadRequest: it is no text, or no valid Unicode.
    """
    if isinstance(instance, bytes):
        try:
            return instance.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadRequest(f"the text is not UTF-8: byte {error.start} is wrong") from None
    if not isinstance(instance, str):
        raise BadRequest(
            f"a text must be a string, not {kind(instance)}",
            hint='for several texts send {"instances": ["...", "..."]}',
        )
    try:
        instance.encode("utf-8")
    except UnicodeEncodeError as error:  # JSON can say half of a pair, "\ud83d"
        raise BadRequest(
            f"the text has a lone surrogate in it, at character {error.start}", status=422
        ) from None
    return instance


def check_together(instances: Sequence[Any], *, max_characters: int) -> None:
    """Refuse texts that would take too long to tokenise: some 2 s for a million characters.

    Raises:
        BadRequest: they have more than `max_characters` together.
    """
    total = 0
    for instance in instances:
        if isinstance(instance, bytes):
            instance = instance.decode("utf-8", "replace")
        if isinstance(instance, str):
            total += len(instance)
    if total > max_characters:
        raise BadRequest(
            f"the texts have {total} characters together; at most {max_characters} are allowed",
            status=413,
        )


class Encoder:
    """A tokenizer, which cuts what is too long and leaves padding to `pad`.

    Args:
        path: what the tokenizers library wrote, a `tokenizer.json`.
        config: how many tokens at most, and which inputs the model takes.

    Raises:
        LoadError: tokenizers is missing, the file can't be read, or nothing would fit.
    """

    def __init__(self, path: Path, config: Config) -> None:
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise LoadError("text needs tokenizers", hint="pip install tokenizers") from error
        if not path.is_file():
            raise LoadError(
                f"there is no tokenizer {path.name} in this archive",
                hint="name the file under 'files' in the recipe",
            )
        try:
            self.tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises no other
            raise LoadError(f"{path.name} is not a tokenizer: {error}") from error
        special = self.tokenizer.num_special_tokens_to_add(False)
        if config.max_tokens <= special:  # the library would then cut nothing
            raise LoadError(f"'max_tokens' must be more than the {special} special tokens")
        self.pad_id = _pad_id(self.tokenizer)
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(config.max_tokens)
        self.config = config

    def encode(self, text: str, options: Any) -> Sample:
        """A text to its tokens; `meta` says whether it was cut.

        Returns:
            input_ids, attention_mask and, if the model takes them, token_type_ids: (T,) int64,
            1 <= T <= max_tokens.

        Raises:
            BadRequest: it has too many tokens and isn't to be cut, or none at all.
        """
        encoding = self.tokenizer.encode(text)
        cut = bool(encoding.overflowing)
        if cut and not options.truncate:
            raise BadRequest(
                f"the text has more than {self.config.max_tokens} tokens",
                hint="send less, or allow 'truncate'",
                status=422,
            )
        if not encoding.ids:
            raise BadRequest("the text has no tokens in it", status=422)
        tensors = {
            "input_ids": torch.tensor(encoding.ids),
            "attention_mask": torch.tensor(encoding.attention_mask),
        }
        if self.config.token_types:
            tensors["token_type_ids"] = torch.tensor(encoding.type_ids)
        return Sample(tensors, options, meta=cut)

    def pad(self, samples: Sequence[Sample]) -> Tensors:
        """Samples to a batch, (N, T) int64, each padded on the right to the longest.

        What is padded is masked: the answers are those that each would get alone.
        """
        return {
            name: pad_sequence(
                [sample.tensors[name] for sample in samples],
                batch_first=True,
                padding_value=self.pad_id if name == "input_ids" else 0,
            )
            for name in samples[0].tensors
        }

    @property
    def varying_axes(self) -> dict[str, tuple[int, ...]]:
        """The axes of a batch's inputs that differ from request to request, by name."""
        names = ["input_ids", "attention_mask"]
        return dict.fromkeys([*names, "token_type_ids"] if self.config.token_types else names, (1,))


def length(sample: Sample) -> int:
    """How many tokens a sample has, special ones included."""
    return len(sample.tensors["input_ids"])


def _pad_id(tokenizer: Any) -> int:
    # Masked, but some models number positions by it.
    if tokenizer.padding:
        return int(tokenizer.padding["pad_id"])
    ids = (tokenizer.token_to_id(token) for token in PAD_TOKENS)
    return next((number for number in ids if number is not None), 0)
