"""Which requests the page's server answers."""

from __future__ import annotations

import pytest

from marsmith.ui.guard import is_known, is_own


@pytest.mark.parametrize("host", ["127.0.0.1:8088", "localhost:8088", "[::1]:8088", "127.8.0.1"])
def test_a_page_on_loopback_is_opened_by_any_of_its_names(host: str) -> None:
    assert is_known(host, "127.0.0.1")


@pytest.mark.parametrize(
    "host", ["evil.example:8088", "192.168.1.7:8088", "localhost.evil.example", "", "[", "@"]
)
def test_no_other_name_reaches_a_page_on_loopback(host: str) -> None:
    assert not is_known(host, "127.0.0.1")


def test_a_page_on_a_network_is_opened_by_its_address_and_by_no_name_of_others() -> None:
    assert is_known("192.168.1.7:8088", "0.0.0.0")
    assert is_known("models.internal:8088", "models.internal")
    assert not is_known("evil.example:8088", "0.0.0.0")


@pytest.mark.parametrize(
    ("headers", "own"),
    [
        ({}, True),  # no browser
        ({"origin": "http://a:1"}, True),
        ({"origin": "http://a:1", "sec-fetch-site": "same-origin"}, True),
        ({"sec-fetch-site": "none"}, True),  # typed by the user
        ({"origin": "http://b:1"}, False),
        ({"origin": "http://a:2"}, False),
        ({"origin": "null"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "same-site"}, False),  # another port of this machine
    ],
)
def test_the_page_itself_may_ask_and_no_other_site(headers: dict[str, str], own: bool) -> None:
    assert is_own({"host": "a:1", **headers}) is own
