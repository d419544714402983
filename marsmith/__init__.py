"""Build time and operations: recipe, convert, verify, package, serve, measure."""

__version__ = "0.2.0"
