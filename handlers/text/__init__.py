"""What tasks that take texts share: tokens and windows in, spans and entities out."""
