"""Servers of archives, one package each."""
