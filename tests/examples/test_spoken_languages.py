"""Which language is spoken: by whom, and that unheard voices are told apart."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from examples import commands, spoken_languages
from marsmith.harness.wire import Request
from marsmith.harness.worker import Harness
from marsmith.pipeline.build import build
from marsmith.recipe import reading
from marsmith.verify.metrics.accuracy import measure
from tests.support.audio import wave
from tests.support.paths import ROOT

RECIPE = ROOT / "archiver_configs" / "spoken_languages.yaml"


def test_every_language_is_spoken_as_often_and_the_same_again() -> None:
    sounds, names, rate = spoken_languages.spoken(12, commands.NEW_VARIANTS, seed=2)
    again, _, _ = spoken_languages.spoken(12, commands.NEW_VARIANTS, seed=2)
    assert all((one == other).all() for one, other in zip(sounds, again, strict=True))
    assert sorted(names) == sorted([*spoken_languages.LANGUAGES] * 2)
    assert all(0.5 < len(sound) / rate < 8 for sound in sounds)


def test_padding_changes_nothing() -> None:
    torch.manual_seed(0)
    model = spoken_languages.model().eval()
    rows = [torch.from_numpy(wave(samples, samples)) for samples in (1, 640, 641, 9000, 20000)]
    together = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    with torch.inference_mode():
        found = model(together, torch.tensor([len(row) for row in rows]))
        alone = torch.cat([model(row[None], torch.tensor([len(row)])) for row in rows])
    torch.testing.assert_close(found, alone, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_the_archive_knows_languages_of_voices_it_never_heard(tmp_path: Path) -> None:
    build(reading.load(RECIPE), tmp_path)
    pairs, answers = spoken_languages.held_out(), []
    with Harness(tmp_path / "spoken_languages.mar", batch_size=8) as worker:
        for start in range(0, len(pairs), 8):
            batch = [Request.raw(body) for body, _ in pairs[start : start + 8]]
            answers += [response.json() for response in worker.predict(batch)]
    assert measure(answers, [name for _, name in pairs]) >= 0.9
