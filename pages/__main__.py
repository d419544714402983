"""Build the site into build/docs/site: `python -m pages`, which scripts/docs runs."""

from __future__ import annotations

from pages.site import build

if __name__ == "__main__":
    raise SystemExit(build())
