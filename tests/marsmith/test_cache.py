from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.digits import DigitsNet
from marsmith.cache import Cache, key_of, module_key

PARTS = st.recursive(
    st.none() | st.integers() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


def test_what_was_kept_is_found(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    assert cache.find("a") is None
    with cache.keep("a") as folder:
        (folder / "x").write_text("1")
    found = cache.find("a")
    assert found
    assert (found / "x").read_text() == "1"


def test_what_breaks_is_not_kept(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    with pytest.raises(FileNotFoundError), cache.keep("a") as folder:
        (folder / "none").read_text()
    assert cache.find("a") is None
    assert list(tmp_path.iterdir()) == []


def test_what_nobody_used_for_a_month_is_dropped(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    old = time.time() - 31 * 86_400
    for key in ("old", "used", "new"):
        with cache.keep(key):
            pass
    for key in ("old", "used"):
        os.utime(tmp_path / key, (old, old))
    cache.find("used")
    cache.drop_unused()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["new", "used"]


@settings(max_examples=30)
@given(PARTS, PARTS)
def test_equal_parts_alone_have_equal_keys(one: object, other: object) -> None:
    same = repr(one) == repr(other) and type(one) is type(other)
    assert (key_of(one) == key_of(other)) == same


def test_a_key_is_of_content(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_text("same")
    assert key_of(tmp_path / "a") == key_of(tmp_path / "b")
    (tmp_path / "b").write_text("other")
    assert key_of(tmp_path / "a") != key_of(tmp_path / "b")
    assert key_of(torch.zeros(2)) != key_of(torch.zeros(1, 2))
    assert key_of(torch.zeros(2)) != key_of(torch.zeros(2, dtype=torch.bfloat16))


def test_a_module_is_its_weights_and_structure() -> None:
    torch.manual_seed(0)
    one = DigitsNet()
    torch.manual_seed(0)
    same = DigitsNet()
    assert module_key(one) == module_key(same)
    with torch.no_grad():
        next(same.parameters()).view(-1)[0] += 1e-3
    assert module_key(one) != module_key(same)
    assert module_key(one) != module_key(DigitsNet(8))
