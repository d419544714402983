"""The best way to serve an archive on this machine, found by serving it in many."""
