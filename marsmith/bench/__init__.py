"""Load as it really comes, against anything that speaks HTTP, and what came of it."""
