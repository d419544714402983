"""Whom a client trusts, and who it says that it is, over TLS."""

from __future__ import annotations

import ssl
from pathlib import Path

from marsmith.errors import ServerError


def trusted(ca: Path | None, certificate: Path | None) -> ssl.SSLContext | bool:
    """What httpx is to verify a server with; see `Client`.

    Raises:
        ServerError: a file can't be read.
    """
    if ca is None and certificate is None:
        return True
    try:
        context = ssl.create_default_context(cafile=ca and str(ca))
    except OSError as error:
        raise ServerError(f"the certificates in {ca} can't be read: {error}") from error
    try:
        if certificate is not None:
            context.load_cert_chain(certificate)
    except OSError as error:
        raise ServerError(f"the certificate in {certificate} can't be read: {error}") from error
    return context
