"""Dates as locales write them: none of the held-out days is in training."""

from __future__ import annotations

import datetime
import re

import torch

from examples import dates


def test_each_date_is_written_as_its_locale_does() -> None:
    found = dates.pairs(400, False)
    assert len(found) == 400
    for text, iso in found:
        day = datetime.date.fromisoformat(iso)
        assert str(day.year) in text
        assert re.search(rf"(?<!\d)0?{day.day}(?!\d)", text)
        assert len(text) < dates.LONGEST
    assert len({text for text, _ in found}) > 390


def test_no_day_that_is_held_out_is_trained_on() -> None:
    trained = {iso for _, iso in dates.pairs(dates.TRAINING, False)}
    asked = {iso for _, iso in dates.held_out()}
    assert len(asked) > 250
    assert not trained & asked


def test_tokens_are_letters_and_become_the_same_text() -> None:
    for text, iso in dates.pairs(50, False):
        for each in (text, iso):
            ids = dates.tokenizer().encode(each).ids
            assert ids[-1] == dates.END
            assert dates.UNKNOWN not in ids
            assert dates.tokenizer().decode(ids) == each


def test_in_company_and_step_by_step_a_text_is_written_as_alone() -> None:
    torch.manual_seed(0)
    model = dates.Translator(30).eval()
    source, target = torch.randint(4, 30, (2, 9)), torch.randint(4, 30, (2, 5))
    none, size, half = torch.zeros(2, dtype=torch.int64), torch.tensor([9, 4]), 2 * dates.LAYERS
    with torch.inference_mode():
        _, *made = model(source, size, none, target[:, :3], none, *dates.nothing_cached(2))
        nothing = torch.zeros(2, 1, dtype=torch.int64)
        past = torch.tensor([3, 2])
        following = torch.stack([target[0, 3], target[1, 2]])[:, None]
        later, *_ = model(nothing, none, size, following, past, *made[:half], *made[half:])
        for row, count in enumerate([4, 3]):
            alone = model(
                source[row : row + 1, : size[row]], size[row : row + 1], none[:1],
                target[row : row + 1, :count], none[:1], *dates.nothing_cached(1),
            )[0]  # fmt: skip
            torch.testing.assert_close(later[row, 0], alone[0, -1], atol=1e-5, rtol=0)
