"""Models, training and data behind the shipped recipes."""
