"""Network interfaces: the name that belongs to an address.

Owns the translation: a scenario names an interface or one of its addresses, ZeroMQ binds either,
but gloo and NCCL want the name.
"""

from __future__ import annotations

import fcntl
import socket
import struct

_SIOCGIFADDR = 0x8915
"""Linux: the IPv4 address of an interface."""


def name_of(interface: str) -> str | None:
    """The interface's name, given that or its IPv4 address; None if this host has none such."""
    names = [name for _, name in socket.if_nameindex()]
    if interface in names:
        return interface
    return next((name for name in names if _address_of(name) == interface), None)


def _address_of(name: str) -> str | None:
    request = struct.pack("256s", name.encode()[:15])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            answer = fcntl.ioctl(any_socket.fileno(), _SIOCGIFADDR, request)
        except OSError:
            # An interface may have no IPv4 address.
            return None
    return socket.inet_ntoa(answer[20:24])
