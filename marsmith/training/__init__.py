"""How passes train: on one process or many, taken up where a run was stopped."""
