"""An archive: what travels in it, how it is written and read, and what it says of itself."""
