"""Progress in a notebook: a bar that is drawn anew at each step, and stays as what was done."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Say = Callable[[str], None]


class Silent:
    """Progress for whoever takes lines, or none.

    Args:
        say: takes a line as each thing begins.
    """

    def __init__(self, say: Say | None = None) -> None:
        self._say = say

    def say(self, line: str) -> None:
        """Tell what begins."""
        if self._say:
            self._say(line)

    def done(self) -> None:
        """Tell that a step is done."""


class Bar(Silent):
    """Progress as a notebook shows it.

    Args:
        steps: how many there are; None if nobody knows.
    """

    def __init__(self, steps: int | None) -> None:
        super().__init__()
        from IPython import display

        show: Any = display.display
        self._steps, self._made, self._line = steps, 0, ""
        self._began, self._end = time.monotonic(), ""
        self._shown = show(self, display_id=True)

    def say(self, line: str) -> None:
        """Draw it with another line."""
        self._line = line
        self._draw()

    def done(self) -> None:
        """Draw it a step further."""
        self._made += 1
        self._draw()

    def end(self, *, well: bool) -> None:
        """Leave what was done, or where it stopped."""
        seconds = f"{time.monotonic() - self._began:.0f} s"
        self._end = f"done in {seconds}" if well else f"stopped after {seconds}: {self._line}"
        self._draw()

    def _draw(self) -> None:
        if self._shown is not None:
            self._shown.update(self)

    def __repr__(self) -> str:
        count = f"{self._made}/{self._steps} " if self._steps else ""
        return self._end or f"{count}{self._line}"

    def _repr_html_(self) -> str:
        if self._end:
            return f"<small>{html.escape(self._end)}</small>"
        known = f' value="{self._made}" max="{self._steps}"' if self._steps else ""
        return f"<progress{known}></progress> <small>{html.escape(self._line)}</small>"


@contextmanager
def progress(say: Say | None, steps: int | None = None) -> Iterator[Silent]:
    """Show what is being done: to whoever takes lines, as a bar in a notebook, or to nobody.

    Args:
        say: takes a line as each thing begins; None for a bar, where there is a notebook.
        steps: how many there are; None if nobody knows.
    """
    if say is not None or not is_here():
        yield Silent(say)
        return
    bar = Bar(steps)
    try:
        yield bar
    except BaseException:
        bar.end(well=False)
        raise
    bar.end(well=True)


def is_here() -> bool:
    """Whether this runs in a notebook's kernel; IPython in a terminal has none."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None
