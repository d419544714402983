"""A causal language model that writes token by token, compared with itself on whole texts."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, cast

import torch

from handlers.errors import ModelError
from handlers.generation.cache import BLOCK
from handlers.generation.decoding import CHUNK, CacheShape, Decoder, TokenSequence
from handlers.generation.detokenizer import Detokenizer
from handlers.generation.sampling import SamplingOptions
from handlers.runtimes import Tensors
from marsmith.errors import UnsupportedError
from marsmith.sources.heads import raised

# One text is read in one part, the other in two or more; then both go on, token by token.
SHORT, LONG, FOLLOWING = 6, CHUNK + 6, 3
# The long one is as long as the model allows, while that costs no more weights times tokens: half
# a second of one core's time in all for 15 million weights; GPT-2's 124 million take two.
AFFORDABLE = 5 * 10**9
TOLERANCE = 1e-3  # of the range of a token's logits; float32 in another order makes 1e-6
HINT = (
    "use a model shaped like GPT-2, Llama, Mistral, Qwen2 or Gemma-2, or bring a 'source.factory' "
    "whose module works as handlers/generation/decoding.py says"
)


@dataclass(eq=False)
class _Known(TokenSequence):
    """A text whose tokens are all known; it keeps the logits (T, V) that follow each of them."""

    following: list[int] = field(default_factory=list)
    logits: list[torch.Tensor] = field(default_factory=list)

    def measure(self, logits: torch.Tensor) -> None:
        """Keep what follows each token of the prompt."""
        self.logits.append(logits)

    def take(self, logits: torch.Tensor, ends: Collection[int]) -> None:
        """Keep what follows a token, and go on with the next that is known."""
        if self.made or not self.score:
            self.logits.append(logits[None])
        if len(self.made) < len(self.following):
            self.made.append(self.following[len(self.made)])
        else:
            self.reason = "length"


def see_that_it_decodes(
    module: torch.nn.Module,
    model: Any,
    form: tuple[int, int, int],
    positions: int,
    *,
    keeps: bool = False,
) -> None:
    """Write known texts as a worker would: the logits must equal the model's for whole texts.

    Args:
        module: is called as `handlers.generation.decoding` calls it.
        model: one of transformers', called with whole texts, without a cache and padding.
        form: the numbers of the module's layers and key and value heads, and a head's size.
        positions: the most tokens in a text.
        keeps: whether the module takes `logits_to_keep`.

    Raises:
        UnsupportedError: they differ, or the module can't be called so, as with models that
            count positions in the cache or make masks in their own way.
    """
    weights = sum(weight.numel() for weight in model.parameters())
    lengths = [min(n, positions) for n in (SHORT, max(LONG, AFFORDABLE // weights))]
    chance = torch.Generator().manual_seed(0)
    size = model.get_input_embeddings().weight.shape[0]
    texts = [torch.randint(size, (length,), generator=chance) for length in lengths]
    try:
        with torch.inference_mode():
            wanted = [model(input_ids=text[None], use_cache=False).logits[0] for text in texts]
    except Exception as error:  # a model may raise anything
        raise UnsupportedError(
            f"this model can't read a text of {max(lengths)} tokens: {raised(error)}", HINT
        ) from error
    try:
        with torch.inference_mode():
            found = _decoded(module, texts, CacheShape(*form), positions, keeps)
    except Exception as error:  # a model may raise anything
        raise UnsupportedError(
            f"this model can't write token by token: {raised(error)}", HINT
        ) from error
    wanted.append(wanted[0][-len(found[-1]) :])
    for row, pair in enumerate(zip(found, wanted, strict=True)):
        _compare(row, *pair)


def _decoded(
    module: torch.nn.Module,
    texts: list[torch.Tensor],
    shape: CacheShape,
    positions: int,
    keeps: bool,
) -> list[torch.Tensor]:
    """The logits that follow each token of texts that are written together.

    The first text comes again at the end, without what follows all but the last of its prompt.
    """
    longest = -(-positions // BLOCK) * BLOCK + CHUNK  # keys that a pass ever sees

    def run(inputs: Tensors) -> Tensors:
        if inputs["past_tokens"].any():  # beside a text of all positions
            unused = longest - inputs["input_ids"].shape[1] - inputs["past.0.key"].shape[2]
            for name in [each for each in inputs if each.startswith("past.")]:
                inputs[name] = torch.nn.functional.pad(inputs[name], (0, 0, 0, unused))
        try:
            outputs: Tensors = module(*inputs.values())
        except Exception as error:  # a ModelError, because the decoder logs any other as a bug
            raise ModelError(
                f"its own code fails where the cache is given to it: {raised(error)}"
            ) from error
        return outputs

    decoder, rows = Decoder(run, shape, len(texts) + 1, (), keeps=keeps), []
    for number, text in enumerate([*texts, texts[0]]):
        count = max(1, len(text) - FOLLOWING)
        prompt, following = text[:count].tolist(), text[count:].tolist()
        detokenizer = cast(Detokenizer, None)  # nothing becomes text
        row = _Known(prompt, SamplingOptions(), 0, detokenizer, following=following)
        row.score = number < len(texts)
        decoder.add(row)
        rows.append(row)
    while decoder.busy:
        decoder.step()
    for row in rows:
        if row.error:
            raise row.error
    return [torch.cat(row.logits) for row in rows]


def _compare(row: int, found: torch.Tensor, wanted: torch.Tensor) -> None:
    wanted = wanted.float()
    difference = (found - wanted).abs().amax(dim=1)
    wrong = ~(difference <= TOLERANCE * (wanted.amax(dim=1) - wanted.amin(dim=1)))  # NaN is, too
    if wrong.any():
        token = int(wrong.nonzero()[0])
        raise UnsupportedError(
            "this model writes otherwise token by token, beside others, than it reads a whole "
            f"text: row {row}, token {token}: logits differ by {float(difference[token]):.2g}",
            HINT,
        )
