"""Numbers dialled on a keypad: how they sound, and what is held out."""

from __future__ import annotations

import numpy as np
import torch

from examples import keypad
from examples.dates import nothing_cached


def test_a_key_sounds_its_two_tones() -> None:
    random = np.random.default_rng(3)
    for _ in range(20):
        keys, sound = keypad.dialled(random)
        assert 1 <= len(keys) <= keypad.MOST
        assert len(sound) <= 2 * keypad.RATE
        power = np.abs(np.fft.rfft(sound)) ** 2
        hertz = np.fft.rfftfreq(len(sound), 1 / keypad.RATE)
        for key in keys:
            place = keypad.KEYS.index(key)
            for tone in (keypad.ROWS[place // 3], keypad.COLUMNS[place % 3]):
                assert power[np.abs(hertz - tone) < 10].max() > 100 * np.median(power)


def test_what_is_held_out_is_not_trained_on() -> None:
    first = keypad.dialled(np.random.default_rng(keypad.SEED))[1]
    bodies = [body for body, _ in keypad.held_out()]
    assert len({*bodies}) == keypad.EVALUATION
    assert keypad.recorded(first) not in bodies


def test_step_by_step_it_writes_as_at_once() -> None:
    torch.manual_seed(0)
    model = keypad.Listener().eval()
    frames = torch.randn(2, keypad.BANDS, keypad.WINDOW)
    none, size = torch.zeros(2, dtype=torch.int64), torch.full((2,), keypad.HEARD)
    target = torch.randint(4, 12, (2, 5))
    with torch.inference_mode():
        whole = model(frames, size, none, target, none, *nothing_cached(2))[0]
        _, *made = model(frames, size, none, target[:, :3], none, *nothing_cached(2))
        later = model(frames[:, :, : keypad.STRIDE], none, size, target[:, 3:], none + 3, *made)[0]
    torch.testing.assert_close(later, whole[:, 3:], atol=1e-5, rtol=0)
