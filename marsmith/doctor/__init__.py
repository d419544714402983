"""What `marsmith doctor` looks at: the machine, its TorchServe, its servers, a configuration."""
