from __future__ import annotations

from typing import Any

import pytest

from marsmith.serving.ray.http import Http


async def nothing(*_: Any) -> Any:
    """Neither receives nor sends."""


@pytest.mark.parametrize(
    ("prefix", "sent", "path"),
    [
        ("", b"/v2?x=1", "/v2"),
        ("/green", b"/green/predictions/digits", "/predictions/digits"),
        ("/green", b"/green/predictions/digits%2f..", "/predictions/digits%2f.."),
        ("/green", b"/green", ""),
    ],
)
def test_a_path_begins_behind_the_prefix_of_its_application(
    prefix: str, sent: bytes, path: str
) -> None:
    scope = {"method": "GET", "raw_path": sent, "root_path": prefix, "headers": []}
    assert Http(scope, nothing, nothing).path == path
