"""`make fuzz`: go on asking until a million requests were answered as the document says.

It stops at the first finding, and after an hour; the next call goes on where this one ended. Each
round is one seed in every role, on a stack of its own, and can be had again by that seed. The first
also walks what follows from the document alone; the others are chance, and chains of requests.
"""

import asyncio
import sys
import time

import click
import msgspec

from tests.fuzz.runs import ALL_PHASES, BY_CHANCE, ROOT, Run, new_stack
from tests.fuzz.stage import ROLES, set_stage

FOLDER = ROOT / "build" / "fuzz"
ROUND_SECONDS = 7_200.0


class Progress(msgspec.Struct):
    """How far the fuzzing has come."""

    next_seed: int = 1
    requests: int = 0


@click.command()
@click.option("--max-examples", type=click.IntRange(1), default=1_000_000, show_default=True,
              help="Requests in all; a round is the least.")  # fmt: skip
@click.option("--minutes", type=click.IntRange(1), default=60, show_default=True,
              help="Begin no round after so long.")  # fmt: skip
@click.option("--each", type=click.IntRange(1), default=200, show_default=True,
              help="Requests that are made up in a round for an endpoint and a role.")  # fmt: skip
@click.option("--seed", type=click.IntRange(1), help="One round again, by its seed.")
@click.option("--fresh", is_flag=True, help="Begin anew.")
def main(max_examples: int, minutes: int, each: int, seed: int | None, fresh: bool) -> None:
    """Ask made-up requests. Exit code 0 when nothing was found, 1 when something was."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    file = FOLDER / "progress.json"
    known = file.exists() and not fresh
    progress = msgspec.json.decode(file.read_bytes(), type=Progress) if known else Progress()
    end = time.monotonic() + 60 * minutes
    if seed is not None:
        sys.exit(0 if _round(seed, each) is not None else 1)
    while progress.requests < max_examples and time.monotonic() < end:
        requests = _round(progress.next_seed, each)
        if requests is None:
            sys.exit(1)
        progress = Progress(progress.next_seed + 1, progress.requests + requests)
        file.write_bytes(msgspec.json.encode(progress))
        click.echo(f"{progress.requests:,} requests so far, nothing found.")
    if progress.requests < max_examples:
        click.echo("Time is up; call again to go on.")


def _round(seed: int, each: int) -> int | None:
    """One seed in every role: how many requests that were, or None when there was a finding."""
    click.echo(f"Round {seed} …")
    with new_stack() as stack:
        stage = asyncio.run(set_stage(stack.url, stack.database_uri))
        phases = ALL_PHASES if seed == 1 else BY_CHANCE
        runs = [Run(stage, role, FOLDER / f"{seed}-{role}", seed, each, phases) for role in ROLES]
        try:
            bad = [run for run in runs if run.wait(ROUND_SECONDS) != 0]
        finally:
            for run in runs:
                run.process.kill()
    for run in bad:
        click.echo(run.report)
        click.echo(f"Found as {run.role}: --seed {seed} does it again; {run.folder / 'report.txt'}")
    return None if bad else sum(sum(run.counts.values()) for run in runs)


if __name__ == "__main__":
    main()
