"""Start TorchServe so that it serves or says why not; stop it so that nothing is left."""
