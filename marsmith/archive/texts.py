"""Reads the JSON and the YAML of an archive, within bounds that are checked before it is parsed.

TorchServe's Java, and every worker, read these texts, too, each with a parser of its own: what two
parsers could take for different things is refused.
"""

from __future__ import annotations

import json
import re

import yaml

from marsmith.errors import ArchiveError

MOST_BYTES = 4 << 20
YAML_BYTES = 1 << 20
YAML_NODES = 50_000
DEEPEST = 32
LONGEST_SCALAR = 64 << 10
TOKEN = re.compile(rb'"(?:[^"\\]+|\\.)*"?|[\[\]{}]', re.DOTALL)
# libyaml's, where PyYAML has it, is some thirty times as fast.
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_json(data: bytes, what: str) -> object:
    """Read a JSON text.

    Args:
        data: UTF-8.
        what: what it is called in an error.

    Raises:
        ArchiveError: it is too large or too deep, says something twice, or is no JSON.
    """
    _refuse_large(data, what, MOST_BYTES)
    depth = 0
    for token in TOKEN.finditer(data):
        bracket = data[token.start() : token.start() + 1]
        depth += (bracket in b"[{") - (bracket in b"]}")
        if depth > DEEPEST:
            raise ArchiveError(f"{what} is nested deeper than {DEEPEST}")
    try:
        found = json.loads(data.decode("utf-8"), object_pairs_hook=_once)
        return _plain(found)
    except (ValueError, TypeError) as error:
        raise ArchiveError(f"{what} is no JSON that can be taken: {error}") from error


def read_yaml(data: bytes, what: str) -> object:
    """Read a YAML text without aliases and tags.

    Args:
        data: UTF-8.
        what: what it is called in an error.

    Raises:
        ArchiveError: it is too large or too deep, has an alias or a tag, says something twice, or
            is no YAML.
    """
    _refuse_large(data, what, YAML_BYTES)
    try:
        text = data.decode("utf-8")
        _check_events(text, what)
        return _plain(yaml.load(text, Loader))  # noqa: S506 - a safe one
    except (ValueError, TypeError, OverflowError, yaml.YAMLError) as error:
        said = " ".join(str(error).split())
        raise ArchiveError(f"{what} is no YAML that can be taken: {said[:200]}") from error


def _check_events(text: str, what: str) -> None:
    """Look at a YAML text as it is scanned, before anything is made of it."""
    open_: list[set[str] | None] = []  # the keys so far of each mapping; None for a sequence
    is_key: list[bool] = []
    for number, event in enumerate(yaml.parse(text, Loader)):
        if isinstance(event, yaml.AliasEvent):
            raise ArchiveError(f"{what} has an alias, *{str(event.anchor)[:40]}")
        if isinstance(event, yaml.CollectionEndEvent):
            open_.pop()
            is_key.pop()
        if not isinstance(event, yaml.NodeEvent):
            continue
        if event.anchor is not None or getattr(event, "tag", None) is not None:
            raise ArchiveError(f"{what} has an anchor or a tag")
        scalar = event.value if isinstance(event, yaml.ScalarEvent) else None
        if number > YAML_NODES or len(scalar or "") > LONGEST_SCALAR:
            raise ArchiveError(f"{what} has more than {YAML_NODES} values, or one that is too long")
        if open_ and (keys := open_[-1]) is not None:
            if is_key[-1]:
                if scalar is None or scalar == "<<" or scalar in keys:
                    raise ArchiveError(
                        f"{what} has a key twice, or one that is no text: {ascii(scalar)[:60]}"
                    )
                keys.add(scalar)
            is_key[-1] = not is_key[-1]
        if scalar is None:
            open_.append(set() if isinstance(event, yaml.MappingStartEvent) else None)
            is_key.append(True)
            if len(open_) > DEEPEST:
                raise ArchiveError(f"{what} is nested deeper than {DEEPEST}")


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {ascii(key)[:60]} is there twice")
        found[key] = value
    return found


def _plain(found: object) -> object:
    """The same, if it can be written as JSON, as text that can be printed.

    Raises:
        ValueError: it has half of a surrogate pair in it.
        TypeError: it has a key that is neither text nor a number.
    """
    json.dumps(found, default=str, ensure_ascii=False).encode("utf-8")
    return found


def _refuse_large(data: bytes, what: str, most: int) -> None:
    if len(data) > most:
        raise ArchiveError(f"{what} has {len(data):,} bytes; at most {most:,} are allowed")
