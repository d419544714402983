"""Shared by tasks that rank items: a catalogue and histories in, the best out."""
