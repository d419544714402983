"""A page in the browser for the models of a running server."""
