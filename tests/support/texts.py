"""Pieces of text that tokenizers and people cut at different places."""

from __future__ import annotations

PIECES = [
    "one",
    "größe",
    "модель",
    "模型",
    "نموذج",
    "👩‍🔬",
    "e\u0301",
    "\r\n",
    "a b " * 30,
    " ",
    "5,0",
]
