"""Write settings into a recipe, whose comments and order stay as they are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import yaml

from marsmith.atomic import replacing
from marsmith.errors import RecipeError


def write(path: Path, serving: Mapping[str, int]) -> None:
    """Write settings into the `serving` of a recipe.

    Args:
        path: the YAML file.
        serving: the settings by name; others stay.

    Raises:
        RecipeError: it is written so that this can't be done line by line.
    """
    text = path.read_text("utf-8")
    changed = _changed(text, serving)
    wanted = yaml.safe_load(text)
    wanted["serving"] = {**(wanted.get("serving") or {}), **serving}
    if yaml.safe_load(changed) != wanted or len(re.findall(r"(?m)^serving\s*:", changed)) > 1:
        said = "\n".join(f"  {name}: {value}" for name, value in serving.items())
        raise RecipeError(
            f"the serving section of {path} can't be changed line by line",
            f"write it yourself:\nserving:\n{said}",
        )
    with replacing(path) as unfinished:
        unfinished.write_text(changed, "utf-8")


def _changed(text: str, serving: Mapping[str, int]) -> str:
    lines = text.rstrip("\n").split("\n")
    begin = next((n for n, line in enumerate(lines) if re.match(r"serving:\s*(#.*)?$", line)), None)
    if begin is None:
        lines += ["", "serving:"]
        begin = len(lines) - 1
    end = next(
        (n for n in range(begin + 1, len(lines)) if re.match(r"[^\s#]", lines[n])), len(lines)
    )
    block, new = lines[begin + 1 : end], []
    indent = next((m[1] for line in block if (m := re.match(r"(\s+)[^\s#]", line))), "  ")
    for name, value in serving.items():
        pattern = re.compile(rf"({indent}{name}:\s*)[^\s#]+")
        place = next((n for n, line in enumerate(block) if pattern.match(line)), None)
        if place is None:
            new.append(f"{indent}{name}: {value}")
        else:
            block[place] = pattern.sub(rf"\g<1>{value}", block[place], count=1)
    return "\n".join([*lines[: begin + 1], *new, *block, *lines[end:]]) + "\n"
