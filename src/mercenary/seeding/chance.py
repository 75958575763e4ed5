"""Chance that can be repeated, and the law by which few get much and many get little."""

from bisect import bisect
from collections.abc import Sequence
from itertools import accumulate
from random import Random
from typing import Generic, TypeVar

T = TypeVar("T")


def chance(seed: int, *place: object) -> Random:
    """A source of its own for each place, so that no place depends on what others drew.

    Seeded by a string, which Python hashes the same way in every process and version.
    """
    return Random(f"{seed}:{':'.join(map(str, place))}")  # noqa: S311 - nothing secret


def pick(random: Random, items: Sequence[T]) -> T:
    """Any of the items; a third of the cost of `random.choice`."""
    return items[int(random.random() * len(items))]


class Zipf(Generic[T]):
    """Draws the item of rank r with a chance in proportion to r to the power of -exponent."""

    def __init__(self, items: Sequence[T], exponent: float) -> None:
        self.items = items
        self._sums = list(accumulate((rank + 1) ** -exponent for rank in range(len(items))))

    def draw(self, random: Random) -> T:
        """One item."""
        return self.items[bisect(self._sums, random.random() * self._sums[-1])]

    def draw_many(self, random: Random, count: int) -> list[T]:
        """`count` items, some of them more than once; cheaper than as many draws."""
        return random.choices(self.items, cum_weights=self._sums, k=count)

    def draw_some(self, random: Random, count: int) -> list[T]:
        """Up to `count` different items, popular ones first more often than not."""
        drawn: dict[T, None] = {}
        for _ in range(3 * count):
            drawn[self.draw(random)] = None
            if len(drawn) == count:
                break
        return list(drawn)


VOWELS = frozenset("aeiou")


def with_an(template: str) -> str:
    """The template for a thing that begins with a vowel."""
    return template.replace("a {thing}", "an {thing}")


class Words(dict[str, object]):
    """What fills a sentence's gaps; knows `a {thing}` from `an {thing}`."""

    def fill(self, template: str) -> str:
        """The sentence."""
        thing = self.get("thing")
        if isinstance(thing, str) and thing[0] in VOWELS:
            template = with_an(template)
        return template.format_map(self)
