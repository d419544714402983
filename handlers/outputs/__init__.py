"""What models answer, to what clients get."""
