"""An encoder–decoder that writes token by token, compared with itself on whole texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from marsmith.errors import UnsupportedError
from marsmith.sources.heads import raised
from marsmith.sources.heads._encoder_decoder import SHAPED, EncoderDecoder, some_tokens

TARGETS = (9, 6)  # tokens of two texts
READ = (5, 2)  # of the targets in the first pass; the rest comes in a second
UNUSED = 3  # more room in the caches than is used
TOLERANCE = 1e-3  # of the range of a token's logits; float32 in another order makes 1e-6


@dataclass(frozen=True)
class Known:
    """A source and a target, with the model's logits (T, V) for the whole target."""

    source: torch.Tensor
    target: torch.Tensor
    logits: torch.Tensor


def whole(model: Any, kind: type[EncoderDecoder] = EncoderDecoder) -> list[Known]:
    """Run transformers' model on two texts alone, before anything is changed in it.

    Args:
        model: of transformers.
        kind: what it will be wrapped in.

    Raises:
        UnsupportedError: it can't be run so.
    """
    chance = torch.Generator().manual_seed(1)
    found = []
    try:
        for source, length in zip(kind.samples(model), TARGETS, strict=True):
            target = some_tokens(model, length, chance)
            given = {kind.SOURCE: source[None], "decoder_input_ids": target[None]}
            with torch.inference_mode():
                said = model(**given, use_cache=False)
            found.append(Known(source, target, said.logits[0].float()))
    except Exception as error:  # a model may raise anything
        raise UnsupportedError(f"this model doesn't run: {raised(error)}", SHAPED) from error
    return found


def see_that_it_writes(module: EncoderDecoder, known: list[Known]) -> None:
    """Write both texts together, in two passes: the logits must be those of each alone.

    Raises:
        UnsupportedError: they differ, or the module can't be called so.
    """
    try:
        with torch.inference_mode():
            found = _in_two_passes(module, known)
    except Exception as error:  # a model may raise anything
        raise UnsupportedError(
            f"this model can't write token by token: {raised(error)}", SHAPED
        ) from error
    for row, (mine, text) in enumerate(zip(found, known, strict=True)):
        difference = (mine - text.logits).abs().amax(dim=1)
        spread = text.logits.amax(dim=1) - text.logits.amin(dim=1)
        wrong = ~(difference <= TOLERANCE * spread)  # NaN is, too
        if wrong.any():
            token = int(wrong.nonzero()[0])
            raise UnsupportedError(
                "this model writes otherwise token by token, beside others, than it reads a whole "
                f"text: row {row}, token {token}: logits differ by {float(difference[token]):.2g}",
                SHAPED,
            )


def _in_two_passes(module: EncoderDecoder, known: list[Known]) -> list[torch.Tensor]:
    layers, heads, size = module.form
    rows, none = len(known), torch.zeros(len(known), dtype=torch.int64)
    read = torch.tensor(READ)
    sources, lengths = module.together([each.source for each in known])
    empty = [torch.zeros(rows, heads, 1, size) for _ in range(4 * layers)]
    first = _padded([each.target[:n] for each, n in zip(known, READ, strict=True)])
    logits, *made = module(sources, lengths, none, first, none, *empty).values()
    # What follows what counts must not matter: it is as large as anything.
    past = [torch.nn.functional.pad(each, (0, 0, 0, UNUSED), value=9.0) for each in made]
    rest = _padded([each.target[n:] for each, n in zip(known, READ, strict=True)])
    later, *_ = module(module.nothing(sources), none, lengths, rest, read, *past).values()
    return [
        torch.cat([logits[row, :n], later[row, : TARGETS[row] - n]]) for row, n in enumerate(READ)
    ]


def _padded(rows: list[torch.Tensor]) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
