"""Keys dialled as tones: how they sound, and what is held out."""

from __future__ import annotations

import numpy as np
import torch

from examples import dialling
from examples.keypad import COLUMNS, KEYS, ROWS


def test_a_key_sounds_its_two_tones() -> None:
    for place, key in enumerate(KEYS):
        sound = dialling.dialled(key)
        assert len(sound) == dialling.TONE + dialling.PAUSE
        power = np.abs(np.fft.rfft(sound)) ** 2
        hertz = np.fft.rfftfreq(len(sound), 1 / dialling.RATE)
        for tone in (ROWS[place // 3], COLUMNS[place % 3]):
            assert power[np.abs(hertz - tone) < 10].max() > 100 * np.median(power)


def test_what_is_held_out_is_dialled_key_by_key() -> None:
    data = dialling.held_out()
    assert len(data) == dialling.EVALUATION
    for body, samples in data[:5]:
        assert samples == dialling.dialled(body.decode()).tolist()


def test_a_number_sounds_the_same_beside_a_longer_one() -> None:
    model = dialling.model()
    ids = torch.tensor([[1, 2, 0, 0], [3, 4, 5, 6]])
    with torch.inference_mode():
        together, lengths = model(ids, (ids > 0).long())
        alone, _ = model(ids[:1, :2], torch.ones(1, 2, dtype=torch.int64))
    assert lengths.tolist() == [2 * 1200, 4 * 1200]
    torch.testing.assert_close(together[0, :2400], alone[0])
    assert not together[0, 2400:].any()
