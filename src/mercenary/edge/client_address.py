"""Where a request comes from, as far as whoever says so is trusted.

The address that limits count by, and the scheme that the caller used. What a peer claims of others
(`Forwarded`, RFC 7239, or `X-Forwarded-For` and `-Proto`) is read from the right, each entry being
the word of the one after it, and only while that one is a trusted proxy; so a caller can write
into these headers whatever it likes. An entry that can't be read ends the walk, at the proxy that
brought it.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.types import ASGIApp, Receive, Scope, Send

from mercenary.settings import UNIX_SOCKET

Address = IPv4Address | IPv6Address

# More proxies than anybody has in a row, so that a header full of them costs no time.
_MAX_HOPS = 16
# An IPv6 address with a zone, brackets and a port.
_MAX_NODE = 80
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110's word for it
_PAIR = re.compile(rf'[ \t]*({_TOKEN})=(?:({_TOKEN})|"((?:[^"\\]|\\.)*)")[ \t]*(?:;|\Z)')
_PORT = re.compile(r"(?::(?:\d{1,5}|_[A-Za-z0-9._-]+))?\Z")


class ClientAddress:
    """Keeps the address in `scope["client_address"]`, and corrects `scope["scheme"]` to https.

    `trusted` are the networks of the proxies; the word `unix` trusts whoever comes through a Unix
    socket. A peer without an address, as on such a socket, goes by that word.
    """

    def __init__(self, app: ASGIApp, trusted: Sequence[str]) -> None:
        self.app = app
        self._networks = [ip_network(each) for each in trusted if each != UNIX_SOCKET]
        self._trusts_sockets = UNIX_SOCKET in trusted
        self._trusts_any = bool(trusted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Find out where the request comes from and pass it on."""
        if scope["type"] == "http":
            peer = scope.get("client")
            address = address_of(peer[0]) if peer else None
            if self._trusts_any and self._trusts(address):
                address = self._follow(scope, address)
            scope["client_address"] = UNIX_SOCKET if address is None else _text_of(address)
        await self.app(scope, receive, send)

    def _trusts(self, address: Address | None) -> bool:
        if address is None:
            return self._trusts_sockets
        return any(address in network for network in self._networks)

    def _follow(self, scope: Scope, peer: Address | None) -> Address | None:
        """Walk back through the proxies, and take over the scheme that they tell.

        A proxy writes one of the two headers and hands the caller's own other one on. When both
        came and lead to different places, one of them is made up, so neither is believed.
        """
        forwarded, addresses, protocols = (
            b",".join(value for name, value in scope["headers"] if name == wanted).decode("latin-1")
            for wanted in (b"forwarded", b"x-forwarded-for", b"x-forwarded-proto")
        )
        schemes: list[str] = []
        found: list[Address | None] = []
        if forwarded:
            hops = [_pairs_of(element) for element in _from_the_right(forwarded)]
            address, count = self._walk(peer, (hop.get("for", "") for hop in hops))
            found.append(address)
            schemes += [hops[count - 1]["proto"]] if count and "proto" in hops[count - 1] else []
        count = 0
        if addresses:
            address, count = self._walk(peer, reversed(addresses.rsplit(",", _MAX_HOPS)))
            found.append(address)
        if protocols:
            listed = protocols.rsplit(",", _MAX_HOPS)
            schemes.append(listed[-min(max(count, 1), len(listed))].strip())
        if schemes and all(scheme.lower() == "https" for scheme in schemes):
            scope["scheme"] = "https"
        return found[0] if found and found[0] == found[-1] else peer

    def _walk(self, peer: Address | None, nodes: Iterable[str]) -> tuple[Address | None, int]:
        """The nearest address that no trusted proxy has, and how many entries that took."""
        address, count = peer, 0
        for node in nodes:
            if count == _MAX_HOPS or not self._trusts(address):
                break
            found = address_of(node.strip())
            if found is None:
                break
            address, count = found, count + 1
        return address, count


def counted_as(address: str) -> str:
    """What limits count an address as: for IPv6 its /64, the least that anybody is given."""
    return _network_of(address) if ":" in address else address


@lru_cache(maxsize=4096)
def _network_of(address: str) -> str:
    return str(IPv6Network((address, 64), strict=False))


def address_of(node: str) -> Address | None:
    """The address in a node of RFC 7239, section 6, or None.

    Takes IPv6 without brackets, too, as `X-Forwarded-For` has it. Port and zone go; an IPv4 address
    inside an IPv6 one is that.
    """
    return _address_of(node) if len(node) <= _MAX_NODE else None


@lru_cache(maxsize=4096)
def _address_of(node: str) -> Address | None:
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


@lru_cache(maxsize=4096)
def _text_of(address: Address) -> str:
    return str(address)


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
