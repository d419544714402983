"""Archives on Ray Serve: `serve run marsmith.serving.ray:app archives='["digits.mar"]'`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ray.serve import Application


def app(arguments: Mapping[str, object]) -> Application:
    """Build an application of archives, for `serve run`, `serve deploy` and `serve.run`.

    Args:
        arguments: see `marsmith.serving.ray.arguments.ApplicationArguments`.

    Raises:
        MarsmithError: an argument is wrong, an archive isn't sound, or Ray is missing.
    """
    from marsmith.serving.ray.application import build
    from marsmith.serving.ray.arguments import ApplicationArguments

    return build(ApplicationArguments.of(arguments))
