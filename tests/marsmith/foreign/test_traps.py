"""What TorchServe takes otherwise than a configuration says it, or not at all."""

from __future__ import annotations

import pytest

from marsmith.foreign import traps

SOUND = "responseTimeout: 60\nstartupTimeout: 60\nbatchSize: 8\nmaxBatchDelay: 5\n"


def test_nothing_is_wrong_with_a_sound_one() -> None:
    config, wrong = traps.of_text(f"{SOUND}handler: {{mine: 1}}\nmy_own_key: 1\n", "c.yaml")
    assert wrong == []
    assert config["batchSize"] == 8


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("minWorkers: '2'", "minWorkers: '2' is no whole number"),
        ("minWorkers: true", "is no whole number"),
        ("maxWorkers: 1.5", "is no whole number"),
        ("useJobTicket: 'yes'", "is neither true nor false"),
        ("deviceType: cuda", "is neither cpu nor gpu"),
        ("batch_size: 8", "batch_size is nothing that TorchServe reads: batchSize is meant"),
        ("minworkers: 8", "minWorkers is meant"),
        ("minWorkers: 4\nmaxWorkers: 2", "minWorkers 4 is more than maxWorkers 2"),
        ("asyncCommunication: true", "answers nothing under load"),
        ("clientTimeoutInMills: 500", "drops requests"),
        ("continuousBatching: true\nmaxWorkers: 2", "more than one worker"),
    ],
)
def test_what_is_ignored_in_silence_is_said(line: str, words: str) -> None:
    _, wrong = traps.of_text(SOUND + line, "c.yaml")
    assert len(wrong) == 1
    assert words in wrong[0]


@pytest.mark.parametrize("text", ["a: [", "- 1\n- 2", "", "word"])
def test_what_is_no_mapping_is_ignored_whole(text: str) -> None:
    config, wrong = traps.of_text(text, "c.yaml")
    assert config == {}
    assert "TorchServe ignores all of it" in wrong[0]


def test_defaults_that_surprise_are_said() -> None:
    _, wrong = traps.of_text("batchSize: 8", "c.yaml")
    said = "\n".join(wrong)
    for words in ("responseTimeout isn't said: 120 s", "startupTimeout isn't", "waits 100 ms"):
        assert words in said
    _, wrong = traps.of_text(SOUND.replace("maxBatchDelay: 5", "maxBatchDelay: 0"), "c.yaml")
    assert wrong == ["maxBatchDelay: 0 becomes 100 ms: say 1"]
