from __future__ import annotations

import pytest

from marsmith.errors import BuildError
from marsmith.verify.metrics.entity_f1 import Entity, FoundEntities, measure


def entity(label: str, start: int, end: int) -> Entity:
    return {"label": label, "start": start, "end": end}


def answer(*entities: Entity) -> FoundEntities:
    return {"entities": [{**each, "score": 0.5, "text": "x"} for each in entities]}


ONE, TWO = entity("PER", 0, 4), entity("LOC", 9, 12)


@pytest.mark.parametrize(
    ("found", "wanted", "f1"),
    [
        ([answer(ONE, TWO)], [[ONE, TWO]], 1.0),
        ([answer(ONE), answer()], [[ONE], []], 1.0),
        ([answer(ONE), answer(TWO)], [[ONE, TWO], []], 0.5),
        ([answer(entity("PER", 0, 5))], [[ONE]], 0.0),
        ([answer(entity("LOC", 0, 4), TWO)], [[ONE, TWO]], 0.5),
        ([answer()], [[ONE]], 0.0),
        ([answer(ONE, ONE)], [[ONE]], 1.0),
    ],
)
def test_a_hit_has_the_very_label_and_place(
    found: list[FoundEntities], wanted: list[list[Entity]], f1: float
) -> None:
    assert measure(found, wanted) == pytest.approx(f1)


@pytest.mark.parametrize("wanted", [["PER"], [[{"label": "PER"}]], [None]])
def test_what_is_expected_must_be_entities(wanted: list[object]) -> None:
    with pytest.raises(BuildError, match=r"lists of \{label, start, end\}"):
        measure([answer()], wanted)  # type: ignore[arg-type]


def test_there_must_be_something_to_find() -> None:
    with pytest.raises(BuildError, match="nothing to find"):
        measure([answer()], [[]])
