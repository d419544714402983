from __future__ import annotations

from marsmith.verify.metrics.same_token import measure


def test_the_likeliest_token_of_the_first_mask_counts() -> None:
    answers = [
        {"masks": [[{"token_str": each} for each in row]]} for row in ([" in", "is"], ["a", "in"])
    ]
    assert measure(answers, ["in", "in"]) == 1 / 2
