"""What systemd is told of a service of `Type=notify`.

See: sd_notify(3).
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress


def say(state: str) -> None:
    """Tell systemd a state, such as "READY=1"; nothing happens where nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    path = "\0" + address[1:] if address.startswith("@") else address
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
        connection.sendto(state.encode(), path)
