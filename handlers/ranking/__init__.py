"""What tasks that rank items share: a catalogue and histories in, the best out."""
