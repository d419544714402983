"""A long recording in windows that overlap, whose frames join without a seam."""

from __future__ import annotations

from dataclasses import dataclass

from handlers.errors import LoadError


@dataclass(frozen=True)
class Window:
    """A part of a recording.

    Attributes:
        start: its first sample.
        end: the sample after its last.
        first: of its own frames, the first that counts.
        last: the frame after the last that does.
    """

    start: int
    end: int
    first: int
    last: int


@dataclass(frozen=True)
class Frames:
    """How samples become frames, and long recordings windows; all in samples.

    Attributes:
        stride: from one frame to the next.
        field: what one frame is made of.
        chunk: the longest that is given to the model at once; a multiple of the stride.
        overlap: what neighbours share, at least; a multiple of the stride.

    Raises:
        LoadError: windows would not overlap by two fields, or not get on.
    """

    stride: int
    field: int
    chunk: int
    overlap: int

    def __post_init__(self) -> None:
        if not max(2 * self.field, 2 * self.stride) <= self.overlap <= self.chunk // 2:
            raise LoadError(
                "'overlap_seconds' must be at least two of the model's frames, and at most half "
                "of 'chunk_seconds'"
            )

    def count(self, samples: int) -> int:
        """The frames that so many samples have."""
        return max(0, (samples - self.field) // self.stride + 1)

    def windows(self, samples: int) -> list[Window]:
        """Windows of one length, but for the last: less than a stride may be wanting there.

        Each gives way to the next in the middle of what they share, and each frame of the whole
        comes from one of them. What fits into one window is one window.
        """
        if samples <= self.chunk:
            return [Window(0, samples, 0, self.count(samples))]
        final = -(-(samples - self.chunk) // self.stride) * self.stride
        starts = [*range(0, final, self.chunk - self.overlap), final]
        pairs = zip(starts[1:], starts[:-1], strict=True)
        seams = [(later + before + self.chunk) // 2 // self.stride for later, before in pairs]
        edges = [0, *seams, self.count(samples)]
        found = []
        for start, first, last in zip(starts, edges[:-1], edges[1:], strict=True):
            skipped = start // self.stride
            end = min(start + self.chunk, samples)
            found.append(Window(start, end, first - skipped, last - skipped))
        return found
