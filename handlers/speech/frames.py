"""Frames: long recordings are cut into windows that overlap, whose frames join seamlessly."""

from __future__ import annotations

from dataclasses import dataclass

from handlers.errors import LoadError


@dataclass(frozen=True)
class Window:
    """A part of a recording.

    Attributes:
        start: its first sample.
        end: the sample after its last.
        first: the first of its own frames that counts.
        last: the frame after the last that counts.
    """

    start: int
    end: int
    first: int
    last: int


@dataclass(frozen=True)
class Frames:
    """How samples become frames, and long recordings windows; all lengths are in samples.

    Attributes:
        stride: from one frame to the next.
        field: the length that one frame is made of.
        chunk: the longest input of the model; a multiple of the stride.
        overlap: what neighbouring windows share, at least; a multiple of the stride.

    Raises:
        LoadError: windows would overlap by less than two fields, or by more than half.
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
        """How many frames so many samples have."""
        return max(0, (samples - self.field) // self.stride + 1)

    def windows(self, samples: int) -> list[Window]:
        """Cut a recording into windows of one length; the last may lack less than a stride.

        Each gives way to the next in the middle of what they share, and each frame of the whole
        comes from one of them. A recording that fits into one window is one window.
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
