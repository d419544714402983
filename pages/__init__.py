"""The site of docs/: what is written there, and what is read off the code, as pages."""
