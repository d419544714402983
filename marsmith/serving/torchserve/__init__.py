"""TorchServe, started so that it serves or says why not, and stopped so that nothing is left."""
