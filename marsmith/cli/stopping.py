"""Whether a command has been told to stop: what its signal raises may come out as something else.

A module written in C that is being imported makes an ImportError of a Ctrl-C, for one.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType

STATUS = {signal.SIGINT: 130, signal.SIGTERM: 143}
_came: list[int] = []


def listen() -> None:
    """Note Ctrl-C, which raises KeyboardInterrupt as ever, and SIGTERM, which ends the command."""
    signal.signal(signal.SIGTERM, _stop)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell may ignore it
        signal.signal(signal.SIGINT, _stop)


def status() -> int | None:
    """The status to end with, if the command has been told to stop."""
    return STATUS[signal.Signals(_came[-1])] if _came else None


def forget() -> None:
    """Know of no signal any more."""
    _came.clear()


def _stop(number: int, frame: FrameType | None) -> None:
    _came.append(number)
    if number == signal.SIGINT:
        signal.default_int_handler(number, frame)
    sys.exit(STATUS[signal.Signals(number)])
