"""`make soak-cache`: two hosts under load and faults for an hour, every answer judged.

A round of a minute after the other, each with a seed and people of its own on the same two hosts.
`--seed` gives the first round's; the next ones count on from there.
"""

import random
import shutil
import sys
import time

import click
import uvloop

from mercenary.local.stack import temporary_folder
from tests.coherence.hosts import PRODUCT, Hosts
from tests.coherence.rounds import Round

ROUND_SECONDS = 60.0


@click.command()
@click.option("--seconds", type=click.FloatRange(10), default=3600.0, show_default=True,
              help="Begin no round after so long.")  # fmt: skip
@click.option("--seed", type=int, help="The first round's seed, by chance where none is given.")
@click.option("--calm", is_flag=True, help="Break nothing.")
@click.option("--replicas", type=int, default=0, help="Of PostgreSQL.")
@click.option("--target", "targets", multiple=True, default=(PRODUCT, PRODUCT), hidden=True)
def main(
    seconds: float, seed: int | None, calm: bool, replicas: int, targets: tuple[str, ...]
) -> None:
    """Load two hosts, break things, judge. Exit code 0 when nothing was found, 1 otherwise."""
    first = random.SystemRandom().randrange(1_000_000) if seed is None else seed
    folder = temporary_folder()
    found = True  # until it is known that nothing was
    try:
        with Hosts(folder, targets, replicas=replicas) as hosts:
            found = uvloop.run(play(hosts, first, seconds, faults=not calm))
    finally:
        if found:
            click.echo(f"Logs of the servers are in {folder}.")
        else:
            shutil.rmtree(folder)
    sys.exit(1 if found else 0)


async def play(hosts: Hosts, seed: int, seconds: float, *, faults: bool) -> bool:
    """Play rounds until the time is up; whether anything was found."""
    end = time.monotonic() + seconds
    found = False
    while (left := end - time.monotonic()) > 0:
        click.echo(f"Round {seed} …")
        length = max(10.0, min(ROUND_SECONDS, left))
        outcome = await Round(hosts, seed, faults=faults).play(length)
        click.echo(outcome.described)
        found = found or bool(outcome.violations or outcome.wanting)
        seed += 1
    return found


if __name__ == "__main__":
    main()
