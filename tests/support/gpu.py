"""A GPU, where there is one."""

from __future__ import annotations

import pytest

from handlers.device import accelerator
from marsmith.recipe.sections import Recipe

NEEDED = [
    pytest.mark.slow,
    pytest.mark.skipif(accelerator() is None, reason="torch sees no GPU here"),
]


def on_gpu(recipe: Recipe, **changes: object) -> Recipe:
    """The recipe, built, verified and served on a GPU.

    Args:
        recipe: any.
        changes: of its other sections and settings.
    """
    serving = recipe.serving.model_copy(update={"device": "gpu"})
    return recipe.model_copy(update={"serving": serving, **changes})
