"""
To which addresses a job may connect.

Looked at where the connection is made: whatever a name resolved to by then, a literal address included, is what is
judged, so a name that changes its mind in between gains nothing. Never follows anything; it opens sockets or refuses.
"""

import ipaddress
import socket
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver

# IPv6 addresses that a gateway on the way turns into the IPv4 address at their end.
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class AddressRefused(OSError):
    """The endpoint's name leads where it must not."""

    def __init__(self) -> None:
        super().__init__("address refused")


def may_reach(address: str, *, allow_private: bool) -> bool:
    """
    Whether *address* is one of the internet; with *allow_private* also of a private network or this machine. A
    link-local one, where clouds hand out their credentials, is never.
    """
    ip = _inner(ipaddress.ip_address(address))
    if ip.is_link_local or ip.is_multicast or ip.is_unspecified:
        return False
    return ip.is_global or allow_private


def _inner(ip: _Address) -> _Address:
    """The IPv4 address that an IPv6 one stands for; itself, when it stands for none."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else ip)


def connector(*, allow_private: bool, resolver: AbstractResolver | None = None) -> aiohttp.TCPConnector:
    """For one call: nothing is kept open, so no other call can borrow what this one was allowed."""

    def open_socket(info: Any) -> socket.socket:
        family, kind, protocol, _, place = info
        if not may_reach(place[0], allow_private=allow_private):
            raise AddressRefused
        return socket.socket(family, kind, protocol)

    return aiohttp.TCPConnector(socket_factory=open_socket, resolver=resolver, force_close=True)
