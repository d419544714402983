"""Run an archive in TorchServe's own worker, without Java."""
