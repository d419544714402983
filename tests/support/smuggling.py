"""Requests whose end two readers may see at different places, by what is wrong with them.

Each is followed by a second request: who reads the first as its sender hopes answers two.
See: RFC 9112, sections 2.2, 5.2, 6.1 to 6.3, 7.1 and 11.2.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from itertools import product

TIMEOUT_S = 30.0
SECOND = "GET /v2/health/live HTTP/1.1\r\nHost: second\r\nConnection: close\r\n\r\n"
PATH = "/predictions/tiny"


def _post(headers: str, body: str, version: str = "HTTP/1.1", key: str = "KEY") -> str:
    head = f"POST {PATH} {version}\r\nHost: a\r\nAuthorization: Bearer {key}\r\n"
    return head + headers + "\r\n" + body


CHUNKED = "Transfer-Encoding: chunked\r\n"
GOOD = "as it should be"
FORMS = {
    GOOD: _post(CHUNKED, "2\r\n{}\r\n0\r\n\r\n"),
    "bare LF after a chunk's size": _post(CHUNKED, "2\n{}\r\n0\r\n\r\n"),
    "bare LF after a chunk": _post(CHUNKED, "2\r\n{}\n0\r\n\r\n"),
    "bare CR in a chunk's size": _post(CHUNKED, "2\rx\r\n{}\r\n0\r\n\r\n"),
    "a chunk's size with a sign": _post(CHUNKED, "+2\r\n{}\r\n0\r\n\r\n"),
    "a chunk's size with 0x": _post(CHUNKED, "0x2\r\n{}\r\n0\r\n\r\n"),
    "a chunk's size beyond 64 bits": _post(CHUNKED, "1" + "0" * 16 + "2\r\n{}\r\n0\r\n\r\n"),
    "a negative chunk": _post(CHUNKED, "-1\r\n{}\r\n0\r\n\r\n"),
    "an empty chunk's size": _post(CHUNKED, "\r\n{}\r\n0\r\n\r\n"),
    "a chunk longer than it says": _post(CHUNKED, "2\r\n{}{}\r\n0\r\n\r\n"),
    "a bare LF in a chunk's extension": _post(CHUNKED, "2;a\nb\r\n{}\r\n0\r\n\r\n"),
    "a line's end in a quoted extension": _post(CHUNKED, '2;a="\r\nb"\r\n{}\r\n0\r\n\r\n'),
    "a control character before the first line": "\x01" + _post("Content-Length: 2\r\n", "{}"),
    "both lengths": _post(CHUNKED + "Content-Length: 2\r\n", "2\r\n{}\r\n0\r\n\r\n"),
    "both lengths, the other first": _post(
        "Content-Length: 2\r\n" + CHUNKED, "2\r\n{}\r\n0\r\n\r\n"
    ),
    "two lengths": _post("Content-Length: 2\r\nContent-Length: 3\r\n", "{} "),
    "a list of lengths": _post("Content-Length: 2, 3\r\n", "{} "),
    "a negative length": _post("Content-Length: -2\r\n", "{}"),
    "a length with a sign": _post("Content-Length: +2\r\n", "{}"),
    "a length in hexadecimal": _post("Content-Length: 0x2\r\n", "{}"),
    "a length beyond 64 bits": _post("Content-Length: 18446744073709551618\r\n", "{}"),
    "an unknown coding": _post("Transfer-Encoding: xchunked\r\n", "2\r\n{}\r\n0\r\n\r\n"),
    "a coding after chunked": _post("Transfer-Encoding: chunked, identity\r\n", "{}"),
    "chunked twice": _post("Transfer-Encoding: chunked, chunked\r\n", "2\r\n{}\r\n0\r\n\r\n"),
    "chunked and another header of it": _post(
        CHUNKED + "Transfer-Encoding: identity\r\n", "2\r\n{}\r\n0\r\n\r\n"
    ),
    "chunked with a vertical tab": _post(
        "Transfer-Encoding: \x0bchunked\r\n", "2\r\n{}\r\n0\r\n\r\n"
    ),
    "a space before the colon": _post("Transfer-Encoding : chunked\r\n", "2\r\n{}\r\n0\r\n\r\n"),
    "a space before a name": _post(" Transfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n"),
    "a folded header": _post("Transfer-Encoding:\r\n chunked\r\n", "2\r\n{}\r\n0\r\n\r\n"),
    "a folded length": _post("Content-Length:\r\n 2\r\n", "{}"),
    "a header with NUL": _post("X-A: a\0b\r\nContent-Length: 2\r\n", "{}"),
    "a header with a bare CR": _post("X-A: a\rX-B: b\r\nContent-Length: 2\r\n", "{}"),
    "a header without a colon": _post("nonsense\r\nContent-Length: 2\r\n", "{}"),
    "a header without a name": _post(": x\r\nContent-Length: 2\r\n", "{}"),
    "chunked under HTTP/1.0": _post(CHUNKED, "2\r\n{}\r\n0\r\n\r\n", version="HTTP/1.0"),
    "two hosts": _post("Host: b\r\nContent-Length: 2\r\n", "{}"),
    "a version that there isn't": _post("Content-Length: 2\r\n", "{}", version="HTTP/1.9x"),
    "a path with a space": f"POST {PATH} /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    "a fragment": f"POST {PATH}#x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    "a length of a GET": "GET /ping HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
}

# HAProxy reads these as RFC 9112 allows and writes them anew for TorchServe, so that both see one
# end; the second request is a second one.
NORMALISED = {"both lengths", "both lengths, the other first", "a folded header", "a folded length"}
# It is closed at once.
CLOSED = "a length beyond 64 bits"
# It is a part of the header before, the key; its body is then read as a request, and refused.
JOINED = "a space before a name"


def statuses(port: int, name: str, key: str, second: str = SECOND) -> list[int]:
    """Send a form and a second request at once; return the statuses of all answers."""
    return answers(port, FORMS[name].replace("KEY", key) + second)


def published() -> Iterator[str]:
    """Headers that some readers take for chunked coding: those that a published scanner tries.

    Source of the list: github.com/defparam/smuggler at 2be871e, its configurations "exhaustive"
    and "doubles".
    """
    name, value = "Transfer-Encoding", "chunked"
    for odd in (
        "Transfer Encoding: chunked", "Transfer_Encoding: chunked", "Transfer Encoding:chunked",
        "Transfer-Encoding\t:\tchunked", "Transfer-Encoding:  chunked", "Content-Encoding: chunked",
        "Transfer-Encoding: chunked, cow", "Transfer-Encoding: cow, chunked",
        "Transfer-Encoding:\n chunked", 'Transfer-Encoding: "chunked"',
        "Transfer-Encoding: 'chunked'", "Transfer-Encoding: chunk", "TrAnSFer-EnCODinG: cHuNkeD",
        "TRANSFER-ENCODING: CHUNKED", "Transfer-Encoding: cow\r\nTransfer-Encoding: chunked",
        "Transfer\r-Encoding: chunked", "Transfer-Encoding: cow chunked bar",
        "Transfer-Encoding: ch\x96nked", "Transf\x82r-Encoding: chunked",
        "X:X\rTransfer-Encoding: chunked", "X:X\nTransfer-Encoding: chunked",
    ):  # fmt: skip
        yield odd
    for odd in map(chr, [*range(0x01, 0x21), *range(0x7F, 0x100)]):
        # One of four places, or two of them.
        for before, after, within, behind in product((False, True), repeat=4):
            if 1 <= before + after + within + behind <= 2:
                between = odd if within else " "
                yield f"{odd * before}{name}{odd * after}:{between}{value}{odd * behind}"


POISON = "GET /poison HTTP/1.1\r\nX-Poison: "


def attacks(header: str) -> Iterator[str]:
    """Requests with a header that only one of two readers may understand.

    Where they differ, what is left begins the next request at the same connection, whoever's it is.
    """
    length = "Content-Length: {}\r\nConnection: close\r\n"
    body = "0\r\n\r\n" + POISON
    yield _post(header + "\r\n" + length.format(len(body)), body)
    inner = POISON + "x"
    yield _post(header + "\r\n" + length.format(4), f"{len(inner):x}\r\n{inner}\r\n0\r\n\r\n")


def answers(port: int, text: str) -> list[int]:
    """Send bytes, one for each character; return the statuses of all answers."""
    said = bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as connection:
        connection.sendall(text.encode("latin-1"))
        with suppress(ConnectionResetError):  # what comes after a refusal is not read
            while part := connection.recv(65_536):
                said += part
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3})", said)]
