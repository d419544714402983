from __future__ import annotations

import socket

import pytest

from marsmith.errors import ServerError
from marsmith.serving.host.ports import choose_ports, free_ports, is_free


def test_ports_follow_the_first() -> None:
    assert choose_ports(8080).numbers() == (8080, 8081, 8082, 7070, 7071)
    assert choose_ports(9100).numbers() == (9100, 9101, 9102, 9103, 9104)
    assert len(set(choose_ports(0).numbers())) == 5
    for port in (-1, 80, 65534):
        with pytest.raises(ServerError, match="out of range"):
            choose_ports(port)


def test_what_another_listens_on_is_taken() -> None:
    (port,) = free_ports(1)
    assert is_free(port)
    with socket.socket() as other:
        other.bind(("127.0.0.1", port))
        other.listen()
        assert not is_free(port)
