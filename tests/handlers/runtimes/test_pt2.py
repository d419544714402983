"""Compiled packages; those that load are tested where they are made."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from handlers.errors import LoadError
from handlers.runtimes.pt2 import load


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04 not a zip", b"\x80\x02}q\x00."], ids=["empty", "zip", "pickle"]
)
def test_another_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.pt2").write_bytes(content)
    with pytest.raises(LoadError, match=r"model\.pt2 can't be loaded as an AOTInductor package"):
        load(tmp_path / "model.pt2", torch.device("cpu"), outputs=["output"])
