"""What a model answers in each of its forms, measured and compared."""
