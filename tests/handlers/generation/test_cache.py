"""What a cache has room for is what it says."""

from __future__ import annotations

import pytest
import torch

from handlers.generation import cache
from handlers.generation.cache import BLOCK, KeyValueCache


def test_room_that_could_not_be_had_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> list[torch.Tensor]:
        raise MemoryError

    kept = KeyValueCache(2, 1, 1, 4)
    kept.fit(1)
    with monkeypatch.context() as patched:
        patched.setattr(cache, "empty", full)
        with pytest.raises(MemoryError):
            kept.fit(2 * BLOCK)
    assert kept.room == BLOCK
    kept.fit(2 * BLOCK)
    assert kept.read([0], 1)[0].shape[2] == kept.room == 2 * BLOCK
