"""Long recordings in windows: every frame of the whole, from one of them, with context."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.errors import LoadError
from handlers.speech.frames import Frames

GRIDS = st.builds(
    lambda stride, field, overlap, chunk: Frames(
        stride,
        field,
        (2 * (overlap + max(2, -(-2 * field // stride))) + chunk) * stride,
        (overlap + max(2, -(-2 * field // stride))) * stride,
    ),
    st.integers(1, 9),
    st.integers(1, 20),
    st.integers(0, 9),
    st.integers(0, 50),
)


@given(GRIDS, st.integers(1, 3000))
def test_every_frame_comes_from_one_window(frames: Frames, samples: int) -> None:
    windows = frames.windows(samples)
    found = [
        window.start // frames.stride + frame
        for window in windows
        for frame in range(window.first, window.last)
    ]
    assert found == list(range(frames.count(samples)))
    assert windows[0].start == 0
    assert windows[-1].end == samples
    context = frames.overlap // 2 - frames.stride
    for window in windows:
        assert window.start % frames.stride == 0
        assert window.last <= frames.count(window.end - window.start)
        if len(windows) > 1:
            assert 0 <= frames.chunk - (window.end - window.start) < frames.stride
        if window.start > 0:
            assert window.first * frames.stride >= context
        if window.end < samples:
            assert window.end - window.start - window.last * frames.stride >= context


def test_what_fits_into_one_window_is_one() -> None:
    frames = Frames(320, 400, 32000, 6400)
    assert len(frames.windows(32000)) == 1
    assert len(frames.windows(32001)) == 2
    assert [frames.count(samples) for samples in (0, 399, 400, 719, 720)] == [0, 0, 1, 1, 2]


@pytest.mark.parametrize(("chunk", "overlap"), [(3200, 0), (3200, 640), (3200, 1920), (0, 0)])
def test_windows_that_cannot_work_are_refused(chunk: int, overlap: int) -> None:
    with pytest.raises(LoadError, match="overlap_seconds"):
        Frames(320, 400, chunk, overlap)
