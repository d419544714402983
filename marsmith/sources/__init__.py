"""One file per place a model comes from; a recipe's `source:` names it."""
