"""For tools that look for this file; `pyproject.toml` declares all that there is to the package."""

from setuptools import setup

setup()
