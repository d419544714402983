"""A GPU: every candidate in process, correct first, then fast; then the best of them, served."""
