"""An interface is known by its name and by its address."""

from __future__ import annotations

from dualrt.real.interfaces import name_of


def test_the_loopback_interface_is_found_by_its_address() -> None:
    assert name_of("127.0.0.1") == "lo"


def test_a_name_is_its_own_name() -> None:
    assert name_of("lo") == "lo"


def test_an_address_of_another_host_has_no_name_here() -> None:
    assert name_of("192.0.2.1") is None
