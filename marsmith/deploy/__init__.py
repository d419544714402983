"""What other systems deploy archives from: written as their own files."""
