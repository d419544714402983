"""The `marsmith` command."""
