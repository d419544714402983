"""Seconds from a model's code to its first answer: ours, BentoML and LitServe, in turns.

The model is the one that `marsmith new --task image_classification` writes, in a file. Each peer
has its service written already, by its own documentation's first example; ours has nothing but
its commands: new, build (which verifies the archive), serve and predict. All must answer what the
module itself says.
"""
