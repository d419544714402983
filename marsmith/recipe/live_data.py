"""Data that is in memory, in the place of what a recipe names."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from pydantic import BaseModel, PrivateAttr

from marsmith.errors import RecipeError

Item = bytes | tuple[bytes, object]
"""A request body that says by itself what it is; or a pair of one and the expected answer."""


class LiveData(BaseModel, frozen=True):
    """What is known of such data, and the data itself."""

    count: int
    sha256: str
    """Of its bodies and of what is expected."""
    _items: tuple[Item, ...] = PrivateAttr()

    @classmethod
    def of(cls, items: Sequence[Item]) -> LiveData:
        """Take some items.

        Raises:
            RecipeError: there are none.
        """
        if not items:
            raise RecipeError("data must have an item: a request body, or (body, expected answer)")
        digest = hashlib.sha256()
        for item in items:
            body, expected = item if isinstance(item, tuple) else (item, None)
            digest.update(hashlib.sha256(body).digest() + repr(expected).encode())
        made = cls(count=len(items), sha256=digest.hexdigest())
        made._items = tuple(items)
        return made

    def __str__(self) -> str:
        return f"{self.count} items in memory, {self.sha256}"

    @property
    def items(self) -> tuple[Item, ...]:
        """The items, in order."""
        return self._items
