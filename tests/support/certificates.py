"""Certificates of tests, made with OpenSSL."""

from __future__ import annotations

import subprocess
from pathlib import Path


def certify(folder: Path) -> Path:
    """A certificate of 127.0.0.1 in `cert.pem` and its key in `key.pem`, new each time."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-subj", "/CN=here", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", "key.pem", "-out", "new.pem"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)
    return (folder / "new.pem").rename(folder / "cert.pem")
