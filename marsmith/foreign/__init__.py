"""Archives of other handlers than ours: what is in one, and a recipe for it."""
