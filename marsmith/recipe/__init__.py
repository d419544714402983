"""What a recipe may say, how one is read, and what it names."""
