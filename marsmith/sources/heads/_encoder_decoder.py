"""An encoder–decoder of transformers that takes and returns its caches as tensors."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from marsmith.errors import UnsupportedError
from marsmith.sources.heads import _attention, _past, raised

SHAPED = "use a model shaped like T5, BART, mBART, Marian, Pegasus or M2M100"
PROBED = 2  # tokens, where only a shape is wanted
SOURCES = (13, 6)  # tokens of two texts


class EncoderDecoder(nn.Module):
    """A model of transformers as `handlers.generation.sourced` calls it.

    Args:
        model: with an encoder and a decoder, each layer of which looks back and at the source.
        positions: how many tokens the decoder takes at most.

    Attributes:
        form: the numbers of the decoder's layers and of their heads, and the size of a head.
        positions: as given.
        adds_masks: whether attention adds a mask to its scores; otherwise a mask is boolean.
        SOURCE: what transformers calls its source.
        crossings: the decoder's attention to the source, where it takes no mask by itself.
    """

    SOURCE = "input_ids"

    def __init__(self, model: nn.Module, positions: int) -> None:
        super().__init__()
        self.model, self.positions = model, positions
        (probe, *_) = self.samples(model)
        self.form = form(model, {self.SOURCE: probe[None]})
        self.adds_masks = _config(model)._attn_implementation == "eager"
        _attention.in_parts(model)
        self.places = _placed(decoder_of(model), positions)
        self.crossings: list[Crossing] = []

    @staticmethod
    def samples(model: Any) -> list[torch.Tensor]:
        """Two sources of chance, always the same, as transformers' model takes them one by one."""
        chance = torch.Generator().manual_seed(0)
        return [some_tokens(model, length, chance) for length in SOURCES]

    @staticmethod
    def together(sources: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Sources as a batch, and how many tokens the encoder makes of each."""
        lengths = torch.tensor([len(each) for each in sources])
        return torch.nn.utils.rnn.pad_sequence([*sources], batch_first=True), lengths

    @staticmethod
    def nothing(sources: torch.Tensor) -> torch.Tensor:
        """What a batch has for sources once they have been read."""
        return torch.zeros_like(sources[:, :1])

    def forward(
        self,
        source_ids: torch.Tensor,
        source_tokens: torch.Tensor,
        cached_source: torch.Tensor,
        input_ids: torch.Tensor,
        past_tokens: torch.Tensor,
        *past: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """Turn tokens and caches into logits, and what is new in the caches; see `sourced`."""
        places = torch.arange(source_ids.shape[1], device=source_ids.device)
        of_source = places < source_tokens[:, None]
        # A source that counts for nothing reads itself: attention to nothing makes NaN.
        read = (of_source | (places == 0))[:, None, None]
        read = self._mask(read.expand(-1, 1, source_ids.shape[1], -1))
        states = encoder_of(self.model)(input_ids=source_ids, attention_mask=read)[0]
        return self.write(states, of_source, cached_source, input_ids, past_tokens, past)

    def write(
        self,
        states: torch.Tensor,
        of_source: torch.Tensor,
        cached_source: torch.Tensor,
        input_ids: torch.Tensor,
        past_tokens: torch.Tensor,
        past: Sequence[torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        """Run the decoder.

        Args:
            states: (N, S, width), what the encoder made of the sources.
            of_source: (N, S) bool, where that counts.
            cached_source: see `forward`, as the others.
            input_ids: tokens.
            past_tokens: how many are in the cache.
            past: the caches.
        """
        count, new, device = input_ids.shape[0], input_ids.shape[1], input_ids.device
        half = len(past) // 2
        known_source = torch.arange(past[half].shape[2], device=device) < cached_source[:, None]
        known = torch.arange(past[0].shape[2], device=device) < past_tokens[:, None]
        places = torch.arange(new, device=device)
        before = (places[None, :] <= places[:, None])[None, None].expand(count, 1, -1, -1)
        seen = torch.cat([known[:, None, None, :].expand(-1, 1, new, -1), before], dim=3)
        crossed = torch.cat([known_source, of_source], dim=1)[:, None, None, :]
        crossed = self._mask(crossed.expand(-1, 1, new, -1))
        for crossing in self.crossings:
            crossing.take(crossed)
        positions = (past_tokens[:, None] + places).clamp(max=self.positions - 1)
        for each in self.places:
            each.take(positions)
        mine = _past.over(past[:half], "present")
        its = _past.over(past[half:], "source_present")
        found = self.model(
            encoder_outputs=(states,),
            attention_mask=crossed,
            decoder_input_ids=input_ids,
            decoder_attention_mask=self._mask(seen),  # of four dimensions, and so taken as it is
            past_key_values=_transformers().EncoderDecoderCache(mine, its),
            use_cache=True,
        )
        return {"logits": found.logits.float(), **mine.new, **its.new}

    def _mask(self, seen: torch.Tensor) -> torch.Tensor:
        """A mask as attention takes it: 0 to add where it counts, the smallest number elsewhere."""
        if not self.adds_masks:
            return seen
        return torch.where(seen, 0.0, torch.finfo(torch.float32).min)


class Crossing(nn.Module):
    """Attention to a source whose decoder gives it no mask."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention = attention
        self._mask: torch.Tensor | None = None

    def take(self, mask: torch.Tensor) -> None:
        """Set the mask (N, 1, T, S) of the next call."""
        self._mask = mask

    def forward(self, *given: Any, **named: Any) -> Any:
        """What attention makes of it with that mask."""
        return self.attention(*given, **{**named, "attention_mask": self._mask})


class Positions(nn.Module):
    """The vectors of positions, read at those of each row's own tokens.

    Args:
        table: (positions, width), or any other shape behind the first axis.
    """

    def __init__(self, table: torch.Tensor) -> None:
        super().__init__()
        self.table: torch.Tensor
        self.register_buffer("table", table.clone())
        self._positions: torch.Tensor | None = None

    def take(self, positions: torch.Tensor) -> None:
        """Set the positions (N, T) of the next call."""
        self._positions = positions

    def forward(self, *_: object, **__: object) -> torch.Tensor:
        """The vectors (N, T, width), whatever transformers counts."""
        assert self._positions is not None  # noqa: S101 - `EncoderDecoder.forward` sets it
        return self.table[self._positions]


class RelativePositions:
    """T5's bias of attention by the distance of two tokens, for rows of their own positions."""

    def __init__(self, attention: Any) -> None:
        self._attention = attention
        self._positions: torch.Tensor | None = None
        attention.compute_bias = self.bias

    def take(self, positions: torch.Tensor) -> None:
        """Set the positions (N, T) of the next call's tokens."""
        self._positions = positions

    def bias(
        self, new: int, total: int, device: object = None, past_seen_tokens: int = 0
    ) -> torch.Tensor:
        """The bias (N, heads, new, total): what is cached stands at its place in the cache."""
        mine = self._positions
        assert mine is not None  # noqa: S101 - `EncoderDecoder.forward` sets it
        cached = torch.arange(past_seen_tokens, device=mine.device).expand(mine.shape[0], -1)
        distance = torch.cat([cached, mine], dim=1)[:, None, :] - mine[:, :, None]
        attention = self._attention
        buckets = attention._relative_position_bucket(
            distance,
            bidirectional=False,
            num_buckets=attention.relative_attention_num_buckets,
            max_distance=attention.relative_attention_max_distance,
        )
        found: torch.Tensor = attention.relative_attention_bias(buckets)
        return found.permute(0, 3, 1, 2)


def some_tokens(model: Any, count: int, chance: torch.Generator) -> torch.Tensor:
    """So many tokens of chance, (count,) int64, none of them padding."""
    size = model.get_input_embeddings().weight.shape[0]
    special = {model.config.pad_token_id, None}
    tokens = torch.tensor([token for token in range(size) if token not in special])
    return tokens[torch.randint(len(tokens), (count,), generator=chance)]


def _transformers() -> Any:
    return importlib.import_module("transformers")


def encoder_of(model: Any) -> Any:
    """The model's encoder."""
    return model.get_encoder()


def decoder_of(model: Any) -> Any:
    """The model's decoder."""
    return model.get_decoder()


def _config(model: Any) -> Any:
    return model.config


def form(model: Any, source: Mapping[str, torch.Tensor]) -> tuple[int, int, int]:
    """The decoder's layers, their heads, and a head's size, as one forward pass shows them.

    Args:
        model: of transformers.
        source: what it takes for a source.

    Raises:
        UnsupportedError: its caches aren't keys and values of one shape, two of each per layer.
    """
    ids = torch.zeros(1, PROBED, dtype=torch.int64)
    try:
        with torch.no_grad():
            found = model(**source, decoder_input_ids=ids, use_cache=True)
    except Exception as error:  # a model may raise anything
        raise UnsupportedError(f"this model keeps no cache: {raised(error)}", SHAPED) from error
    cache = found.get("past_key_values")
    parts = [
        getattr(cache, name, None) for name in ("self_attention_cache", "cross_attention_cache")
    ]
    layers = [list(getattr(each, "layers", None) or []) for each in parts]
    shapes = [
        tuple(x.shape) for each in layers for layer in each for x in (layer.keys, layer.values)
    ]
    forms = {(len(shape), *shape[:2], *shape[3:]) for shape in shapes}  # but for the tokens
    if len(forms) != 1 or len(layers[0]) != len(layers[1]) or len(shapes[0]) != 4:
        raise UnsupportedError(
            "this model's decoder doesn't cache keys and values of one form in all its layers",
            SHAPED,
        )
    return len(layers[0]), shapes[0][1], shapes[0][3]


def _placed(decoder: Any, positions: int) -> list[Positions | RelativePositions]:
    """Let the decoder take each row's own positions; transformers counts for all rows at once.

    Raises:
        UnsupportedError: nothing says how this decoder knows positions.
    """
    if hasattr(decoder, "embed_positions"):
        decoder.embed_positions = Positions(_table(decoder, positions))
        return [decoder.embed_positions]
    relative = [each for each in decoder.modules() if hasattr(each, "relative_attention_bias")]
    if not relative:
        raise UnsupportedError("it isn't known how this model's decoder counts positions", SHAPED)
    return [RelativePositions(each) for each in relative]


class _FoundError(Exception):
    """The decoder has asked for its positions."""


def _table(decoder: Any, positions: int) -> torch.Tensor:
    """What the decoder itself adds to the tokens of a text of all its positions."""
    found: list[torch.Tensor] = []

    def keep(_: nn.Module, __: object, output: torch.Tensor) -> None:
        found.append(output)
        raise _FoundError

    token = next(i for i in range(3) if i != (getattr(decoder, "padding_idx", None)))
    hook = decoder.embed_positions.register_forward_hook(keep)
    try:
        with torch.no_grad():
            decoder(input_ids=torch.full((1, positions), token))
    except _FoundError:
        pass
    except Exception as error:  # a model may raise anything
        raise UnsupportedError(
            f"this model's decoder doesn't take {positions} positions: {raised(error)}", SHAPED
        ) from error
    finally:
        hook.remove()
    return found[0].reshape(positions, -1)
