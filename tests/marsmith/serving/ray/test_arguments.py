from __future__ import annotations

import pytest

from marsmith.errors import ServerError
from marsmith.serving.ray.arguments import ApplicationArguments


@pytest.mark.parametrize("said", ["a.mar", '["a.mar"]', ["a.mar"], ("a.mar",)])
def test_archives_come_from_command_lines_and_from_files(said: object) -> None:
    assert ApplicationArguments.of({"archives": said}).archives == ("a.mar",)


@pytest.mark.parametrize(
    "said",
    [{}, {"archives": []}, {"archives": "[x"}, {"archives": "a.mar", "kyes": False}],
)
def test_what_is_not_an_argument_is_refused_with_what_is(said: object) -> None:
    with pytest.raises(ServerError, match="there are: archives, trust, keys") as caught:
        ApplicationArguments.of(said)
    assert "serve run" in caught.value.hint
