"""One file per target: what strangers can send in. The folder is the list.

A target has `seeds()`, inputs to begin with; `run(data)`, which raises whatever nobody may cause;
and `mutate(data, random_)`, which changes an input as its format asks.
"""
