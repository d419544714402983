"""Fuzzing that stays: targets, what drives them, and the inputs that were once found."""
