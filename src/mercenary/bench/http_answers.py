"""Finds where an HTTP/1.1 answer ends: as much of the protocol as a load generator needs."""

import re
from typing import Final, NamedTuple

_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_CHUNKED: Final = re.compile(rb"\r\ntransfer-encoding:[^\r\n]*chunked", re.IGNORECASE)
_CLOSES: Final = re.compile(rb"\r\nconnection:[ \t]*close", re.IGNORECASE)
_CACHE: Final = re.compile(rb"\r\nx-cache:[ \t]*([a-z-]+)", re.IGNORECASE)
CACHE_WORDS: Final = ("", "hit-memory", "hit-redis", "miss", "bypass")
"""What X-Cache may say, the first of them where there is none."""
_WORD_NUMBERS: Final = {word.encode(): number for number, word in enumerate(CACHE_WORDS)}
_END_OF_CHUNKS: Final = b"\r\n0\r\n\r\n"


class Answer(NamedTuple):
    """The status, whether the server hangs up after it, and the number of what X-Cache says."""

    status: int
    closes: bool
    cache: int = 0


class AnswerReader:
    """Reads one answer after the other; nothing is asked before the last one is whole."""

    def __init__(self) -> None:
        self._received = b""

    def feed(self, data: bytes) -> Answer | None:
        """Take more bytes; the answer once its last byte is there."""
        self._received = self._received + data if self._received else data
        received = self._received
        end = received.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = received[:end]
        status = int(head[9:12])
        if not _is_whole(head, status, received[end + 4 :]):
            return None
        self._received = b""
        cache = _CACHE.search(head)
        number = 0 if cache is None else _WORD_NUMBERS[cache[1].lower()]
        return Answer(status, _CLOSES.search(head) is not None, number)


def _is_whole(head: bytes, status: int, body: bytes) -> bool:
    if status in {204, 304}:
        return True
    length = _LENGTH.search(head)
    if length is not None:
        return len(body) >= int(length[1])
    if _CHUNKED.search(head) is not None:
        return body == _END_OF_CHUNKS[2:] or body.endswith(_END_OF_CHUNKS)
    # Neither: the answer would end with the connection, which none of the servers here does.
    raise ValueError("an answer without a length")
