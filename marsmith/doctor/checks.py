"""All checks, one after the other."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterator
from pathlib import Path

from marsmith.doctor import holes, jar, lint, machine, places, servers
from marsmith.doctor.findings import Finding
from marsmith.errors import ServerError


def check(model_store: Path, config: Path | None, say: Callable[[str], None]) -> Iterator[Finding]:
    """Look at everything.

    Args:
        model_store: where archives are kept.
        config: a `config.properties` of the user's; none: that is not looked at.
        say: takes a line about what is looked at.

    Raises:
        ServerError: `config` can't be read.
    """
    if config is not None:
        say("lint the configuration")
        yield from lint.check(config)
    say("look at this machine")
    yield from machine.check()
    yield from places.check(model_store)
    say("look at TorchServe and its jar")
    try:
        versions = jar.versions(jar.find_jar(), importlib.metadata.version("torchserve"))
    except ServerError as error:
        yield Finding(part=holes.PART, level="bad", what=error.message, hint=error.hint)
        versions = {}
    else:
        yield from holes.check(versions)
    say("look at the servers that run")
    yield from servers.check(versions)
