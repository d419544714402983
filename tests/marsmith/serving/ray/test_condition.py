from __future__ import annotations

import asyncio

import pytest

from marsmith.serving.ray import condition
from marsmith.serving.ray.condition import Condition


def test_an_answer_that_never_comes_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    async def running(_: str | None) -> dict[str, int]:
        nonlocal asked
        asked += 1
        if asked < 3:  # the network has lost it
            await asyncio.Event().wait()
        return {"digits": 1}

    async def up() -> bool:
        known = Condition(["digits"])
        watching = asyncio.create_task(known.watch())
        try:
            return await known.wait("digits", asyncio.get_running_loop().time() + 60)
        finally:
            watching.cancel()

    monkeypatch.setattr(condition, "_running", running)
    monkeypatch.setattr(condition, "ASK_S", 0.01)
    monkeypatch.setattr(condition, "POLL_S", 0.01)
    assert asyncio.run(up())
    assert asked >= 3
