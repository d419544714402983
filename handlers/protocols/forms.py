"""Forms that come as bytes: a front hands them on unread, because TorchServe's own decoder leaks.

The front sends the form's media type in a header of its own, and `application/octet-stream` as the
media type of the body. Without that header TorchServe has read the form already.

See: RFC 7578 (multipart/form-data) and https://url.spec.whatwg.org/#application/x-www-form-urlencoded.
"""

from __future__ import annotations

import re
from email.message import Message
from urllib.parse import parse_qsl

from handlers.errors import BadRequest

HEADER = "x-form-type"
MULTIPART, URLENCODED = "multipart/form-data", "application/x-www-form-urlencoded"
MAX_PART_HEADERS = 4096  # bytes
LINE = b"\r\n"
# As browsers write it: quoted, a quotation mark within as %22, nothing else escaped.
PARAMETER = re.compile(r""";\s*([A-Za-z*-]+)\s*=\s*(?:"([^"]*)"|([^\s";]+))""")


def read(
    body: object, media_type: str, max_fields: int = 1000
) -> tuple[dict[str, object], dict[str, str]]:
    """Read a form.

    Args:
        body: as it came.
        media_type: of the form, with its parameters.
        max_fields: how many fields it may have.

    Returns:
        The fields' values, and the media types of those that have one, both by name. A file is
        bytes; so is every other field.

    Raises:
        BadRequest: it is no form of that type, or has too many parts.
    """
    if not isinstance(body, (bytes, bytearray)):
        raise BadRequest("the body is no form")
    body, kind = bytes(body), Message()
    kind["Content-Type"] = media_type.replace("\r", " ").replace("\n", " ")
    if kind.get_content_type() == URLENCODED:
        return _read_urlencoded(body, max_fields), {}
    boundary = kind.get_param("boundary")
    if kind.get_content_type() != MULTIPART or not isinstance(boundary, str) or not boundary:
        raise BadRequest(
            f"a form of type {media_type[:200]!a} can't be read",
            hint=f"send {MULTIPART} with a boundary, or {URLENCODED}",
        )
    fields: dict[str, object] = {}
    kinds: dict[str, str] = {}
    for part in _split(body, boundary.encode("latin-1", "replace"), max_fields):
        name, part_kind, value = _read_part(part)
        if name in fields:
            raise BadRequest(f"the form has two fields named {name[:40]!a}")
        fields[name] = value
        if part_kind:
            kinds[name] = part_kind
    return fields, kinds


def _read_urlencoded(body: bytes, max_fields: int) -> dict[str, object]:
    if body.lstrip()[:1] in (b"{", b"["):  # what `curl -d` makes of JSON
        raise BadRequest(
            "the body is JSON, sent as a form", hint="set the header Content-Type: application/json"
        )
    if body.count(b"&") >= max_fields:
        raise _too_many(max_fields)
    try:
        pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, strict_parsing=bool(body))
    except ValueError as error:
        raise BadRequest(
            f"the form can't be read: {str(error)[:200]!a}",
            hint="`curl -d` sends a form: say what the body is, -H 'Content-Type: text/plain' or"
            " image/png …, or name a field, -F data=@FILE",
        ) from None
    fields: dict[str, object] = {}
    for name, value in pairs:
        if name in fields:
            raise BadRequest(f"the form has two fields named {name[:40]!a}")
        fields[name] = value.encode()
    return fields


def _too_many(most: int) -> BadRequest:
    return BadRequest(
        f"the form has more than {most} fields",
        hint="send fewer; the setting is 'max_inputs'",
        status=413,
    )


def _split(body: bytes, boundary: bytes, max_fields: int) -> list[bytes]:
    """Split a body at its boundary into parts, each with its headers."""
    line = b"--" + boundary
    start, rest = body.find(line), b""
    if start < 0 or body[:start].strip(b"\r\n \t"):
        raise BadRequest(
            "the form doesn't begin with its boundary", hint="let your client write the header"
        )
    parts = body[start + len(line) :].split(LINE + line, max_fields + 1)
    if len(parts) > max_fields + 1:
        raise _too_many(max_fields)
    *parts, rest = parts
    if not rest.startswith(b"--") or (not parts and not rest):
        raise BadRequest("the form breaks off before its last boundary", hint="send it whole")
    return parts


def _read_part(part: bytes) -> tuple[str, str, bytes]:
    """Read a part: its name, its media type or "", and its value."""
    padding, _, part = part.partition(LINE)
    headers, end, value = part.partition(LINE + LINE)
    if padding.strip(b" \t") or not end or len(headers) > MAX_PART_HEADERS:
        raise BadRequest("a part of the form has no headers, or too long ones")
    found: dict[str, str] = {}
    for line in headers.decode("utf-8", "replace").split("\r\n"):
        name, colon, said = line.partition(":")
        if not colon or name.strip().lower() in found:
            raise BadRequest(f"a part of the form has a header that can't be read: {line[:80]!a}")
        found[name.strip().lower()] = said.strip()
    disposition = found.get("content-disposition", "")
    names = [
        quoted or bare
        for parameter, quoted, bare in PARAMETER.findall(disposition)
        if parameter.lower() == "name"
    ]
    if disposition.partition(";")[0].strip().lower() != "form-data" or not names:
        raise BadRequest("a part of the form has no name")
    return names[0], found.get("content-type", ""), value
