"""Time stamps: the rules of transformers' processor, and the cuts of its long recordings."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.speech.timestamps import Stamps

WORDS, END, NONE, LAST = 12, 12, 13, 24  # tokens: words, the end, "no stamps", ten stamps
TOKENS = st.integers(0, LAST)


@settings(max_examples=150, deadline=None)
@given(
    made=st.lists(TOKENS, max_size=8),
    seed=st.integers(0, 10_000),
    latest=st.sampled_from([None, 0, 4]),
)
def test_what_may_come_is_what_transformers_allows(
    made: list[int], seed: int, latest: int | None
) -> None:
    from transformers.generation.logits_process import WhisperTimeStampLogitsProcessor

    config: Any = SimpleNamespace(
        no_timestamps_token_id=NONE, eos_token_id=END, bos_token_id=END,
        max_initial_timestamp_index=latest,
    )  # fmt: skip
    begun = [END, END + 1]
    theirs = WhisperTimeStampLogitsProcessor(config, begin_index=len(begun))
    scores = torch.randn(LAST + 1, generator=torch.Generator().manual_seed(seed)) * 3
    wanted = theirs(torch.tensor([[*begun, *made]]), scores[None].clone())[0]
    before = scores.clone()
    found = Stamps(NONE, END, latest, 0.02).apply(scores, made)
    assert torch.equal(found, wanted)
    assert torch.equal(scores, before)


@settings(max_examples=150, deadline=None)
@given(made=st.lists(TOKENS.filter(lambda token: token != END), max_size=12))
def test_cuts_are_those_of_transformers(made: list[int]) -> None:
    from transformers.models.whisper.generation_whisper import WhisperGenerationMixin

    segments, offset = WhisperGenerationMixin._retrieve_segment(
        seek_sequence=torch.tensor(made, dtype=torch.int64), seek_outputs=[None],
        time_offset=torch.zeros(1, dtype=torch.float64), timestamp_begin=NONE + 1,
        seek_num_frames=torch.tensor([90]), time_precision=0.02, time_precision_features=0.01,
        input_stride=2, prev_idx=0, idx=0, return_token_timestamps=False,
        decoder_input_ids=torch.zeros(1, 3),
    )  # fmt: skip
    found = Stamps(NONE, END, None, 0.02).cut(made, 90, 2, 0.01)
    assert found.frames == int(offset)
    assert [stretch.tokens for stretch in found.stretches] == [
        each["tokens"].tolist() for each in segments
    ]
    for stretch, each in zip(found.stretches, segments, strict=True):
        assert stretch.start == pytest.approx(float(each["start"]))
        assert stretch.end == pytest.approx(float(each["end"]))
