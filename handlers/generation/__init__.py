"""Shared by tasks that write text token by token: sampling, decoding, caching, streaming."""
