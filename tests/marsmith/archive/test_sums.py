"""SHA256SUMS: what is written is read, and nothing else."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from marsmith.archive import sums

FILES = st.dictionaries(st.text("abé/# .", min_size=1), st.binary(max_size=9), max_size=5)


@given(FILES.filter(bool))
def test_what_is_written_is_read(files: dict[str, bytes]) -> None:
    expected = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    assert sums.read(sums.of(files)) == expected
