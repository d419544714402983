"""One file per runtime: each writes what `handlers/runtimes/<same name>.py` loads."""
