"""What a model takes and gives where nothing but its tensors is known."""
