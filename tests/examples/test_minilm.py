from __future__ import annotations

from collections import Counter

from examples.minilm import calibration, sentences


def test_the_sentences_are_many_and_real() -> None:
    bodies = [body.decode() for body, _ in sentences()]
    assert len(set(bodies)) == len(bodies) >= 500
    assert all(5 <= len(sentence.split()) <= 60 for sentence in bodies)
    # No markup, no code: what is left is letters.
    plain = [sum(c.isalpha() or c in " ,." for c in s) / len(s) for s in bodies]
    assert min(plain) > 0.7
    assert sum(plain) / len(plain) > 0.96


def test_the_topics_are_balanced() -> None:
    counts = Counter(topic for _, topic in sentences())
    assert len(counts) >= 10
    assert max(counts.values()) <= 2 * min(counts.values())


def test_calibration_has_sentences_of_its_own() -> None:
    assert len(set(calibration())) >= 128
    assert not set(calibration()) & {body for body, _ in sentences()}
