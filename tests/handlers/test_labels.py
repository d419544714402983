"""Labels, from a file to the classes of a model."""

from __future__ import annotations

from pathlib import Path

import pytest

from handlers import labels
from handlers.errors import LoadError, ModelError


def test_labels_name_the_classes(tmp_path: Path) -> None:
    file = tmp_path / "labels.json"
    file.write_text('["cat", "größe"]', "utf-8")
    assert labels.of(labels.read(file), 2) == ["cat", "größe"]
    assert labels.of(None, 2) == ["0", "1"]


def test_a_number_of_labels_that_does_not_fit_is_the_models_fault() -> None:
    with pytest.raises(ModelError, match="3 labels for 2 classes") as told:
        labels.of(["a", "b", "c"], 2)
    assert "must name every class" in told.value.hint


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "can't be read"),
        ("[", "can't be read"),
        ('{"a": 1}', "must be a JSON list of strings"),
        ("[1, 2]", "must be a JSON list of strings"),
        ('["a", "a"]', "must be unique"),
    ],
)
def test_a_file_that_is_no_list_of_labels_is_refused(
    tmp_path: Path, text: str | None, words: str
) -> None:
    file = tmp_path / "labels.json"
    if text is not None:
        file.write_text(text, "utf-8")
    with pytest.raises(LoadError, match=words):
        labels.read(file)
