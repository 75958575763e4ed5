"""Which id a request names: few are asked for often, most hardly ever.

Popularity on the web follows Zipf's law (Breslau et al., «Web Caching and Zipf-like
Distributions», INFOCOM 1999): the item of rank k is asked for in proportion to k^-s, with s
between 0.6 and 1.
"""

import random
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

EXPONENT: Final = 1.0


def draw(ids: Sequence[int], count: int, *, exponent: float = EXPONENT, seed: int = 1) -> list[int]:
    """`count` ids by a Zipf law over `ids`, the same for the same seed.

    Ranks are dealt at random: were the oldest or newest rows the popular ones, they'd lie side by
    side in the same pages of the database.

    Raises:
        ValueError: there is nothing to draw from.
    """
    if not ids:
        raise ValueError("there are no ids to draw from")
    source = random.Random(seed)  # noqa: S311 - a workload, no secret
    ranked = list(ids)
    source.shuffle(ranked)
    weights = list(accumulate((rank + 1) ** -exponent for rank in range(len(ranked))))
    return source.choices(ranked, cum_weights=weights, k=count)
