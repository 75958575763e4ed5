"""Calling schemathesis: one run is one role and one seed."""

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from mercenary.local.stack import Stack, without_settings
from tests.fuzz.stage import Stage
from tests.generous import GENEROUS

ROOT = Path(__file__).parents[2]
# The product as shipped, but for what makes waiting or refusing a matter of volume.
SETTINGS = GENEROUS | {"MERCENARY_ACCESS_TOKEN_SECONDS": "86400"}

# Examples and coverage follow from the document alone, the others from the seed.
ALL_PHASES = "examples,coverage,fuzzing,stateful"
BY_CHANCE = "fuzzing,stateful"


def new_stack() -> Stack:
    """A private stack to be fuzzed."""
    return Stack(workers=1, environment=SETTINGS)


@dataclass
class Run:
    """One run in a folder of its own: started, waited for, and then counted."""

    stage: Stage
    role: str
    folder: Path
    seed: int = 1
    max_examples: int = 10
    phases: str = ALL_PHASES
    process: "subprocess.Popen[bytes]" = field(init=False)

    def __post_init__(self) -> None:
        """Start it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.stage.write(self.folder / "stage.json")
        (self.folder / "schemathesis.toml").write_text(self._settings())
        command = [sys.executable, "-m", "schemathesis.cli", "run"]
        # From a file, because what it reads the document from it doesn't test.
        document = self.folder / "openapi.json"
        document.write_bytes(httpx.get(f"{self.stage.url}/openapi.json").content)
        command += [str(document), "--url", self.stage.url, "--checks", "all", "--no-color"]
        command += ["--seed", str(self.seed), "--max-examples", str(self.max_examples)]
        command += ["--phases", self.phases]
        command += ["--generation-database", "none", "--continue-on-failure", "--warnings", "off"]
        environment = {
            **without_settings(),
            "SCHEMATHESIS_HOOKS": "tests.fuzz.hooks",
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "FUZZ_STAGE": str(self.folder / "stage.json"),
            "FUZZ_COUNTS": str(self.folder / "counts.json"),
            "FUZZ_ROLE": self.role,
            "FUZZ_SEED": str(self.seed),
        }
        with (self.folder / "report.txt").open("wb") as report:
            self.process = subprocess.Popen(
                command, stdout=report, stderr=report, env=environment, cwd=self.folder
            )

    def _settings(self) -> str:
        # Chains of requests are short and quick, so there are more of them.
        lines = ["[phases.stateful.generation]", f"max-examples = {5 * self.max_examples}"]
        lines += ["[auth]", "auto-signup = false"]  # a guest stays one
        if token := self.stage.tokens.get(self.role):
            lines += ["[auth.openapi.bearerAuth]", f'bearer = "{token}"']
        return "\n".join(lines)

    def wait(self, within: float) -> int:
        """Wait for its end; the exit code is 0 when nothing was found."""
        return self.process.wait(within)

    @property
    def report(self) -> str:
        """What schemathesis has to say."""
        return (self.folder / "report.txt").read_text(errors="replace")

    @property
    def counts(self) -> "Counter[tuple[str, int]]":
        """How often each endpoint answered with each status."""
        raw = json.loads((self.folder / "counts.json").read_text())
        return Counter(
            {(key.split()[0], int(key.split()[1])): number for key, number in raw.items()}
        )
