"""What the parts of a report are made of."""

from __future__ import annotations

from pydantic import BaseModel


class Frozen(BaseModel, frozen=True, extra="forbid", use_attribute_docstrings=True):
    """Frozen data; its fields are the keys of its JSON."""
