"""Shared by tasks that take texts: tokens and windows in, spans and entities out."""
