"""HAProxy before TorchServe: what may be asked, by whom, how much at once, and what is true."""
