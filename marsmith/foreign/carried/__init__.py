"""Files that `marsmith adopt` writes beside a recipe; each is whole, and the user's own then."""
