from __future__ import annotations

import pytest

from marsmith.errors import UnsupportedError
from marsmith.extras import need


def test_what_is_not_installed_is_named_with_the_extra_that_brings_it() -> None:
    need("onnx", "torch", "json")
    with pytest.raises(UnsupportedError, match="no_such_engine is not installed") as caught:
        need("onnx", "torch", "no_such_engine")
    assert caught.value.hint == "pip install 'marsmith[onnx]'"
