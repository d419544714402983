"""What is watched of a server: one table, and the files that are written from it."""
