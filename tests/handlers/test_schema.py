"""Settings from plain data: what is taken, what is refused, and what is said about it."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from handlers.schema import SchemaError, json_schema, kind, parse, setting, unknown
from tests.support.answers import plain


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    count: int = setting(5, "How many.", minimum=1, maximum=9)
    share: float = setting(0.5, "How much.", minimum=0)
    name: str = setting("a", "What.")
    verbose: bool = setting(False, "Whether.")
    mode: Literal["fast", "slow"] = setting("fast", "Which way.")
    size: int | tuple[int, int] | None = setting(None, "How large.", minimum=1)
    weights: tuple[float, ...] = setting((1.0,), "How heavy.")
    extra: dict[str, Any] | None = setting(None, "What else.")
    words: tuple[str | int, ...] = setting((), "Which.", max_items=3)


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.binary()
    | st.sampled_from([1, -1]).map(lambda sign: sign * 10**5000)
    | st.sampled_from(["1" * 5000, "nan", "-inf", "1e999", "\ud800"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
KEYS = st.sampled_from([field.name for field in dataclasses.fields(Settings)])


@given(st.dictionaries(KEYS | st.text(st.characters()), ANYTHING, max_size=3), st.booleans())
@example({"count": 10**5000}, False)
@example({"count": -(10**5000)}, False)
@example({"share": 10**5000}, False)
@example({"share": -(10**400)}, True)
def test_parse_gives_what_was_declared_or_a_schema_error(values: Any, text: bool) -> None:
    try:
        settings = parse(Settings, values, where="the options", text=text)
    except SchemaError as error:
        message = str(error)
        assert "the options" in message
        assert len(message) < 1200  # 80 characters of the key, escaped, and what is allowed
        message.encode("ascii")
        return
    assert type(settings.count) is int
    assert 1 <= settings.count <= 9
    assert type(settings.share) is float
    assert math.isfinite(settings.share)
    assert settings.share >= 0
    assert type(settings.name) is str
    assert type(settings.verbose) is bool
    assert settings.mode in ("fast", "slow")
    assert all(type(weight) is float and math.isfinite(weight) for weight in settings.weights)


@given(ANYTHING)
def test_only_a_mapping_is_parsed(values: Any) -> None:
    if not isinstance(values, dict):
        with pytest.raises(SchemaError, match=r"the options must be a mapping, not \w+"):
            parse(Settings, values, where="the options")


@given(
    st.integers(1, 9),
    st.floats(0, 1e300),
    st.booleans(),
    st.sampled_from(["fast", "slow"]),
    st.none() | st.integers(1) | st.tuples(st.integers(1), st.integers(1)),
)
def test_what_is_allowed_is_kept(
    count: int, share: float, verbose: bool, mode: str, size: Any
) -> None:
    values = {"count": count, "share": share, "verbose": verbose, "mode": mode, "size": size}
    settings = parse(Settings, values, where="the options")
    assert values == {name: getattr(settings, name) for name in values}


@given(st.integers(1, 9), st.floats(0, 1e300), st.booleans())
def test_form_fields_say_the_same_as_json(count: int, share: float, verbose: bool) -> None:
    values = {"count": count, "share": share, "verbose": verbose}
    texts = {name: str(value) for name, value in values.items()}
    in_form = parse(Settings, texts, where="the options", text=True)
    assert in_form == parse(Settings, values, where="the options")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": "3"}, "'count' in the options must be an integer, not '3'"),
        ({"count": True}, "'count' in the options must be an integer, not True"),
        ({"count": 3.0}, "'count' in the options must be an integer, not 3.0"),
        ({"count": None}, "'count' in the options must be an integer, not null"),
        ({"count": [3]}, "'count' in the options must be an integer, not a list"),
        ({"count": 0}, "'count' in the options must be at least 1, not 0"),
        ({"count": 10}, "'count' in the options must be at most 9, not 10"),
        ({"count": 10**5000}, "'count' in the options must be at most 9, not huge"),
        ({"share": math.nan}, "'share' in the options must be a finite number"),
        ({"share": 10**400}, "'share' in the options must be a finite number"),
        ({"share": "much"}, "'share' in the options must be a number, not 'much'"),
        ({"name": 7}, "'name' in the options must be a string, not 7"),
        ({"verbose": 1}, "'verbose' in the options must be true or false, not 1"),
        ({"mode": "warp"}, "'mode' in the options must be one of 'fast', 'slow', not 'warp'"),
        ({"mode": ["fast"]}, "'mode' in the options must be one of 'fast', 'slow', not a list"),
        ({"size": "big"}, "'size' in the options must be an integer or a list of 2 (int), not 'b"),
        ({"size": 0}, "'size' in the options must be at least 1, not 0"),
        ({"size": [8, 0]}, "'size' in the options must be at least 1, not 0"),
        ({"weights": 3}, "'weights' in the options must be a list, not an integer"),
        ({"weights": [1, "x"]}, "'weights' in the options must be a number, not 'x'"),
        ({"extra": []}, "'extra' in the options must be a mapping, not a list"),
        ({"cuont": 3}, "'cuont' is not allowed in the options; did you mean 'count'? allowed: c"),
    ],
)
def test_an_error_says_what_was_wrong_and_what_is_allowed(values: Any, message: str) -> None:
    with pytest.raises(SchemaError) as caught:
        parse(Settings, values, where="the options")
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("word", ["true", "True", "1", "yes", " TRUE "])
def test_a_form_field_says_yes_in_many_ways(word: str) -> None:
    assert parse(Settings, {"verbose": word}, where="the options", text=True).verbose is True


def test_a_form_field_lists_with_commas() -> None:
    values = {"weights": "1, 2.5", "size": "8,9"}
    settings = parse(Settings, values, where="the options", text=True)
    assert settings.weights == (1.0, 2.5)
    assert settings.size == (8, 9)


def test_a_huge_key_costs_nothing_and_is_cut_short() -> None:
    with pytest.raises(SchemaError) as caught:
        parse(Settings, {"k" * 1_000_000: 1}, where="the options")
    assert len(str(caught.value)) < 300


def test_unknown_says_when_nothing_is_allowed() -> None:
    assert unknown("top_k", [], "the options") == (
        "'top_k' is not allowed in the options; allowed: none"
    )


@pytest.mark.parametrize(
    ("value", "words"),
    [({}, "an object"), ([], "a list"), (None, "null"), (b"", "bytes"), (1j, "a complex")],
)
def test_kind_speaks_json(value: object, words: str) -> None:
    assert kind(value) == words


def test_json_schema_says_what_parse_does() -> None:
    schema = plain(json_schema(Settings))
    properties = schema["properties"]
    assert schema["additionalProperties"] is False
    assert properties["count"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 9,
        "default": 5,
        "description": "How many.",
    }
    assert properties["mode"]["enum"] == ["fast", "slow"]
    assert properties["size"]["anyOf"] == [
        {"type": "integer"},
        {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2},
        {"type": "null"},
    ]
    assert properties["weights"]["items"] == {"type": "number"}


@pytest.mark.parametrize("text", [False, True])
def test_a_list_of_too_many_items_is_refused_before_it_is_read(text: bool) -> None:
    for words in [
        ["a"] * 4,
        [object()] * 10**6,
        *(["a,b,c,d", '["a", 1, "b", 2]'] if text else []),
    ]:
        with pytest.raises(SchemaError, match="must be a list of at most 3"):
            parse(Settings, {"words": words}, where="the options", text=text)
    schema = plain(json_schema(Settings))["properties"]["words"]
    assert schema["maxItems"] == 3
