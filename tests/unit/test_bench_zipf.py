"""Drawing ids: few are asked for often, most hardly ever, in the law's proportions."""

import random
from collections import Counter
from statistics import NormalDist

import pytest

from mercenary.bench.zipf import draw

IDS = range(1, 101)
DRAWS = 100_000


@pytest.mark.parametrize("exponent", [0.0, 0.8, 1.0, 1.2])
def test_ranks_are_drawn_in_proportion_to_the_law(exponent: float) -> None:
    """Pearson's chi-square of all ranks stays within what chance gives once in a million."""
    counts = Counter(draw(IDS, DRAWS, exponent=exponent, seed=7))
    ranked = list(IDS)
    random.Random(7).shuffle(ranked)
    weights = [rank**-exponent for rank in range(1, len(ranked) + 1)]
    expected = [DRAWS * weight / sum(weights) for weight in weights]
    statistic = sum(
        (counts[id] - wanted) ** 2 / wanted for id, wanted in zip(ranked, expected, strict=True)
    )
    assert statistic < chi_square_quantile(len(ranked) - 1, 1 - 1e-6)


def test_the_same_seed_draws_the_same_and_another_doesnt() -> None:
    assert draw(IDS, 50, seed=1) == draw(IDS, 50, seed=1) != draw(IDS, 50, seed=2)


def test_popular_ids_dont_lie_side_by_side() -> None:
    popular = [id for id, _ in Counter(draw(range(100_000), DRAWS)).most_common(10)]
    assert max(popular) - min(popular) > 10_000


def test_there_must_be_ids_to_draw_from() -> None:
    with pytest.raises(ValueError, match="no ids"):
        draw([], 1)


def chi_square_quantile(freedom: int, share: float) -> float:
    """By Wilson and Hilferty (1931), good to a percent from 30 degrees of freedom on."""
    ninth = 2 / (9 * freedom)
    return float(freedom * (1 - ninth + NormalDist().inv_cdf(share) * ninth**0.5) ** 3)
