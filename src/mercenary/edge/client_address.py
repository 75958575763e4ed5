"""Where a request comes from, as far as whoever says so is trusted.

The address that limits count by, and the scheme that the caller used. What a peer claims of others
(`Forwarded`, RFC 7239, or `X-Forwarded-For` and `-Proto`) is read from the right, each entry being
the word of the one after it, and only while that one is a trusted proxy; so a caller can write
into these headers whatever it likes. An entry that can't be read ends the walk, at the proxy that
brought it.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import NamedTuple

from starlette.types import ASGIApp, Receive, Scope, Send

from mercenary.settings import UNIX_SOCKET

_CLAIMS = frozenset({b"forwarded", b"x-forwarded-for", b"x-forwarded-proto"})
# More proxies than anybody has in a row, so that a header full of them costs no time.
_MAX_HOPS = 16
# An IPv6 address with a zone, brackets and a port.
_MAX_NODE = 80
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110's word for it
_PAIR = re.compile(rf'[ \t]*({_TOKEN})=(?:({_TOKEN})|"((?:[^"\\]|\\.)*)")[ \t]*(?:;|\Z)')
_PORT = re.compile(r"(?::(?:\d{1,5}|_[A-Za-z0-9._-]+))?\Z")


class Place(NamedTuple):
    """Where a request comes from: the address as text, and whether a trusted proxy has it."""

    address: str
    trusted: bool


class ClientAddress:
    """Keeps the address in `scope["client_address"]`, and corrects `scope["scheme"]` to https.

    `trusted` are the networks of the proxies; the word `unix` trusts whoever comes through a Unix
    socket. A peer without an address, as on such a socket, goes by that word.
    """

    def __init__(self, app: ASGIApp, trusted: Sequence[str]) -> None:
        self.app = app
        self._networks = [ip_network(each) for each in trusted if each != UNIX_SOCKET]
        self._socket = Place(UNIX_SOCKET, UNIX_SOCKET in trusted)
        # Judging an address takes some µs, finding it again 0.1.
        self._known = lru_cache(maxsize=4096)(self._judge)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Find out where the request comes from and pass it on."""
        if scope["type"] == "http":
            peer = scope.get("client")
            place = (self._place(peer[0]) if peer else None) or self._socket
            if place.trusted:
                place = self._follow(scope, place)
            scope["client_address"] = place.address
        await self.app(scope, receive, send)

    def _place(self, node: str) -> Place | None:
        """The place that a node of RFC 7239, section 6, names, or None.

        Takes IPv6 without brackets, too, as `X-Forwarded-For` has it. Port and zone go; an IPv4
        address inside an IPv6 one is that.
        """
        return self._known(node) if len(node) <= _MAX_NODE else None

    def _judge(self, node: str) -> Place | None:
        address = _address_of(node)
        if address is None:
            return None
        return Place(str(address), any(address in network for network in self._networks))

    def _follow(self, scope: Scope, peer: Place) -> Place:
        """Walk back through the proxies, and take over the scheme that they tell.

        A proxy writes one of the two headers and hands the caller's own other one on. When both
        came and lead to different places, one of them is made up, so neither is believed.
        """
        claims: dict[bytes, str] = {}
        for name, value in scope["headers"]:
            if name in _CLAIMS:
                text = value.decode("latin-1")
                claims[name] = f"{claims[name]},{text}" if name in claims else text
        schemes: list[str] = []
        found: list[Place] = []
        if forwarded := claims.get(b"forwarded"):
            hops = [_pairs_of(element) for element in _from_the_right(forwarded)]
            place, count = self._walk(peer, [hop.get("for", "") for hop in hops])
            found.append(place)
            schemes += [hops[count - 1]["proto"]] if count and "proto" in hops[count - 1] else []
        count = 0
        if addresses := claims.get(b"x-forwarded-for"):
            place, count = self._walk(peer, addresses.rsplit(",", _MAX_HOPS)[::-1])
            found.append(place)
        if protocols := claims.get(b"x-forwarded-proto"):
            listed = protocols.rsplit(",", _MAX_HOPS)
            schemes.append(listed[-min(max(count, 1), len(listed))].strip())
        if schemes and all(scheme.lower() == "https" for scheme in schemes):
            scope["scheme"] = "https"
        return found[0] if found and found[0] == found[-1] else peer

    def _walk(self, peer: Place, nodes: Sequence[str]) -> tuple[Place, int]:
        """The nearest place that no trusted proxy has, and how many entries that took."""
        place, count = peer, 0
        for node in nodes[:_MAX_HOPS]:
            found = self._place(node.strip()) if place.trusted else None
            if found is None:
                break
            place, count = found, count + 1
        return place, count


def counted_as(address: str) -> str:
    """What limits count an address as: for IPv6 its /64, the least that anybody is given."""
    return _network_of(address) if ":" in address else address


@lru_cache(maxsize=4096)
def _network_of(address: str) -> str:
    return str(IPv6Network((address, 64), strict=False))


def _address_of(node: str) -> IPv4Address | IPv6Address | None:
    host, rest = node, ""
    if node.startswith("["):
        host, closed, rest = node[1:].partition("]")
        if not closed or ":" not in host:
            return None
    elif node.count(":") == 1:
        host, colon, port = node.partition(":")
        rest = colon + port
    if not _PORT.match(rest):
        return None
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _from_the_right(header: str) -> list[str]:
    """The last elements of a `Forwarded` header, the nearest first.

    They are split from the right so that a quote that a caller leaves open stays the caller's.
    """
    pieces = header.rsplit(",", _MAX_HOPS)
    elements: list[str] = []
    while pieces:
        element = pieces.pop()
        while element.count('"') % 2 and pieces:
            element = f"{pieces.pop()},{element}"
        elements.append(element)
    return elements


def _pairs_of(element: str) -> dict[str, str]:
    """The parameters of one element; none where it is malformed or names one twice."""
    pairs: dict[str, str] = {}
    position = 0
    while position < len(element):
        found = _PAIR.match(element, position)
        if found is None or found[1].lower() in pairs:
            return {}
        quoted = found[3]
        pairs[found[1].lower()] = found[2] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        position = found.end()
    return pairs
