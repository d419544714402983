"""How long TorchServe waits for a batch before it takes a worker for hung, and ends it."""

from __future__ import annotations

import math

from handlers.base import PATIENCE
from handlers.task import Config
from marsmith.recipe.sections import USUAL_RESPONSE_S, Recipe, Serving
from marsmith.report.measurements import Timing

TIMES = 10  # of the 99th percentile of a batch
LEAST_S = 5.0
DECODING_S = 1.0  # of one request, at most: handlers.images.limits, handlers.protocols.json_text
# Rounded up to one of these, so that builds on machines of one kind make equal archives.
STEPS_S = (5, 10, 20, 30, 60, 120, 180, 300, 450, 600, 900, 1800, 3600)


def with_timeout(recipe: Recipe, config: Config, timing: Timing | None) -> Recipe:
    """The recipe with a `serving.response_timeout_s`: its own, or what was measured asks for."""
    serving = recipe.serving
    if serving.response_timeout_s is not None:
        return recipe
    found = response_timeout_s(serving, config, timing)
    changed = serving.model_copy(update={"response_timeout_s": found})
    return recipe.model_copy(update={"serving": changed})


def response_timeout_s(serving: Serving, config: Config, timing: Timing | None) -> int:
    """Choose a timeout that ends a hung worker soon, and no worker that works.

    It is the longest of: ten times the 99th percentile of a batch; a batch each of whose requests
    takes as long to decode as bounds allow; one request of as many instances as are allowed, but
    for that no more than a minute; where a task has a `max_seconds`, a minute and that time, which
    a text takes at most and a recording lasts. A handler stops by itself at PATIENCE of it.

    Args:
        serving: of the recipe.
        config: of the task.
        timing: of the candidate that is served.
    """
    if timing is None or timing.p99_ms is None:
        return USUAL_RESPONSE_S
    batch_s = timing.p99_ms / 1000
    runs = math.ceil(config.max_instances / serving.batch_size)
    needed = [
        LEAST_S,
        TIMES * batch_s,
        serving.batch_size * DECODING_S / PATIENCE,
        min(USUAL_RESPONSE_S, runs * batch_s / PATIENCE),
    ]
    seconds = getattr(config, "max_seconds", None)
    if isinstance(seconds, (int, float)):
        needed += [USUAL_RESPONSE_S, seconds / PATIENCE]
    longest = max(needed)
    return next((step for step in STEPS_S if step >= longest), math.ceil(longest))
