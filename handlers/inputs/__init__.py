"""What requests hold, to what models take."""
