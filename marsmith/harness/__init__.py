"""An archive in TorchServe's own worker, without Java."""
