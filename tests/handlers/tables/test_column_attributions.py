from __future__ import annotations

from jsonschema import validate

from handlers.tables.column_attributions import ColumnAttributions
from tests.support.answers import plain


def test_each_column_has_its_number_in_their_order() -> None:
    found = plain(ColumnAttributions("rent", ["town", "area"], [-1.5, 2.0]).to_json())
    assert found == {"target": "rent", "attributions": {"town": -1.5, "area": 2.0}}
    assert list(found["attributions"]) == ["town", "area"]
    validate(found, ColumnAttributions.schema())
