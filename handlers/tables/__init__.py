"""Shared by tasks that take rows of a table: columns in, attributions out."""
