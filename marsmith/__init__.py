"""Build time and operations: recipe, convert, verify, package, serve, measure."""

__version__ = "0.1.0"
