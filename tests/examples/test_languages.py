"""Names of things in many languages, and none of the held-out things in training."""

from __future__ import annotations

import unicodedata
from collections import Counter

import torch

from examples import languages
from examples.languages import LANGUAGES, is_held_out, names


def test_the_languages_are_many_and_of_many_scripts() -> None:
    assert len(set(LANGUAGES)) == len(LANGUAGES) >= 50
    scripts = {
        unicodedata.name(letter).split()[0]
        for called in names().values()
        for letter in called["territory GR"]
        if letter.isalpha()
    }
    assert len(scripts) >= 20
    assert {"LATIN", "CYRILLIC", "ARABIC", "DEVANAGARI", "HANGUL", "CJK", "THAI"} <= scripts
    assert names()["de"]["territory GR"] == "Griechenland"
    assert min(len(called) for called in names().values()) > 1000


def test_what_is_held_out_is_trained_on_in_no_language() -> None:
    for called in names().values():
        trained = {code for code in called if not is_held_out(code)}
        assert 0.7 < len(trained) / len(called) < 0.9
    # A zone is held out in all its forms, in summer as in winter.
    assert is_held_out("zone Arabian standard") == is_held_out("zone Arabian daylight")
    held_out = {" ".join(code.split()[:2]) for code in names()["en"] if is_held_out(code)}
    others = {" ".join(code.split()[:2]) for code in names()["en"] if not is_held_out(code)}
    assert not held_out & others
    for language, called in names().items():
        trained = {name for code, name in called.items() if not is_held_out(code)}
        bodies = {body.decode() for body, spoken in languages.held_out() if spoken == language}
        assert not bodies & trained


def test_each_language_has_as_many_texts() -> None:
    counts = Counter(language for _, language in languages.held_out())
    assert set(counts) == set(LANGUAGES)
    assert len(set(counts.values())) == 1
    assert len(languages.calibration()) >= 128


def test_in_company_a_text_is_told_as_alone() -> None:
    torch.manual_seed(0)
    model = languages.Net(50).eval()
    ids = torch.randint(2, 50, (3, 9))
    mask = torch.tensor([[1] * 9, [1] * 4 + [0] * 5, [1] + [0] * 8])
    with torch.inference_mode():
        together = model(ids * mask, mask)
        for row, length in enumerate(mask.sum(dim=1).tolist()):
            alone = model(ids[row : row + 1, :length], mask[row : row + 1, :length])
            torch.testing.assert_close(together[row], alone[0], atol=1e-5, rtol=0)
