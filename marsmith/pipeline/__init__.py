"""From a recipe to an archive, or to a folder, step by step."""
