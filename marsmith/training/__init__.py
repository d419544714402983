"""How passes train: on one process or many, taken up where a run was stopped."""

from marsmith import our_handlers

# The one import that does more than define things. A process that multiprocessing spawns to read
# training data imports, before all else, the module of what it unpickles: `training.loop`.
our_handlers.claim()
