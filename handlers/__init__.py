"""Serve time: everything in this package travels inside every archive."""
