"""Find the files of marsmith that are not code, in a checkout or where pip has put them."""

from __future__ import annotations

import site
import sysconfig
from pathlib import Path

from marsmith.errors import MarsmithError


def shipped(name: str) -> Path:
    """Find a file or a folder that comes with marsmith.

    Args:
        name: "config.properties", or "archiver_configs".

    Raises:
        MarsmithError: it is not where it was installed.
    """
    home = Path(__file__).parents[1]
    folders = [
        home,
        home / "share" / "marsmith",  # after `pip install --target`
        Path(sysconfig.get_path("data"), "share", "marsmith"),
        Path(site.getuserbase(), "share", "marsmith"),
    ]
    for folder in folders:
        if (folder / name).exists():
            return folder / name
    raise MarsmithError(
        f"marsmith's {name} is missing; looked in: {', '.join(map(str, folders))}",
        "install marsmith again",
    )
