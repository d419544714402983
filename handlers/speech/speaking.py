"""How texts are spoken: what a request may ask, what is drawn by chance, what is made together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from handlers.schema import setting
from handlers.task import similar_length

STEP = 16  # lengths of frames are a multiple of it: engines keep something for every shape
DRAWN = 2  # numbers of chance for how long a token lasts


@dataclass(frozen=True, kw_only=True)
class VoiceOptions:
    """The options of a request to a model without chance."""

    voice: str = setting("", "One of the model's voices; by default the first.")
    stream: bool = setting(False, "Send the sound sentence by sentence, while it is made.")


@dataclass(frozen=True, kw_only=True)
class SpeechSynthesisOptions(VoiceOptions):
    """The options of a request."""

    speaking_rate: float = setting(
        1.0, "How fast to speak; 2 is twice as fast as 1.", minimum=0.25, maximum=4
    )
    noise_scale: float = setting(
        0.667, "How much the sound varies from seed to seed.", minimum=0, maximum=2
    )
    noise_scale_duration: float = setting(
        0.8, "How much durations vary from seed to seed.", minimum=0, maximum=2
    )
    seed: int = setting(
        0, "The same seed speaks a text in the same way, in any batch.", minimum=0,
        maximum=2**63 - 1,
    )  # fmt: skip


Asked = VoiceOptions | SpeechSynthesisOptions


@dataclass(frozen=True)
class Line:
    """What is to be spoken.

    Attributes:
        ids: (T,) int64, its tokens, with blank ones.
        voice: the number of the voice.
        how: the request's options.
        rest: the sentences that follow, of a text that is sent sentence by sentence.
    """

    ids: torch.Tensor
    voice: int
    how: Asked
    rest: tuple[Line, ...] = ()

    def drawn(
        self, frames: int, size: int, *, durations: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw for durations, (2, T), and for the sound of frames, (frames, size), both float32.

        The first frames are the same, however many there are. After `torch.manual_seed`,
        transformers' VITS draws the same numbers for the text alone.

        Args:
            frames: how many.
            size: the numbers for each.
            durations: whether these are drawn; otherwise they are 0.
        """
        how = self.how
        assert isinstance(how, SpeechSynthesisOptions)  # noqa: S101 - the task chooses them
        chance = torch.Generator().manual_seed(how.seed)
        lasting = torch.zeros(DRAWN, len(self.ids))
        if durations:
            lasting.normal_(generator=chance)
        # Not contiguous, because torch then draws number after number, as is relied on above.
        sound = torch.empty(frames, size).T.normal_(generator=chance).T
        return lasting * how.noise_scale_duration, sound * how.noise_scale


def plan(needed: Mapping[int, int], most: int) -> Iterator[tuple[list[int], int]]:
    """The texts that are spoken together, and for how many frames: at least as many as each needs.

    Args:
        needed: the frames of texts, by their places.
        most: that one text may have; texts together, with padding, have no more, which bounds the
            memory.
    """
    together: list[int] = []
    frames = 0
    for place in sorted(needed, key=needed.__getitem__):
        wide = rounded(needed[place])
        is_far = bool(together) and similar_length(wide) != similar_length(needed[together[0]])
        if together and (is_far or wide * (len(together) + 1) > most + STEP):
            yield together, frames
            together = []
        together.append(place)
        frames = wide
    if together:
        yield together, frames


def rounded(length: int, step: int = STEP) -> int:
    """The next multiple of a step."""
    return -(-length // step) * step
