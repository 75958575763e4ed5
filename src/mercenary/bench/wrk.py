"""Load by wrk (https://github.com/wg/wrk), the quickest generator there is for keep-alive HTTP/1.1.

Its script is `wrk.lua` beside this file, with the plan written above it as a Lua table.
"""

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from mercenary.bench.generator import TIMEOUT_SECONDS, GeneratorError, GeneratorName, Outcome
from mercenary.bench.traffic import Plan

_SCRIPT = files("mercenary.bench").joinpath("wrk.lua")


class Wrk:
    """wrk at `path` with so many threads."""

    name: GeneratorName = "wrk"

    def __init__(self, path: str, threads: int) -> None:
        self.threads = threads
        self._path = path

    def commands(self, plan: Plan) -> Sequence[list[str]]:
        """One process; the script is written into the plan's folder."""
        script = Path(plan.folder, "script.lua")
        script.write_text(
            f"plan = {lua(msgspec.to_builtins(plan))}\n{_SCRIPT.read_text(encoding='utf-8')}",
            encoding="utf-8",
        )
        url = f"{'https' if plan.tls else 'http'}://{plan.host}/"
        return [
            [
                self._path,
                f"--threads={self.threads}",
                f"--connections={max(plan.connections, self.threads)}",
                f"--duration={plan.seconds}s",
                f"--timeout={TIMEOUT_SECONDS}s",
                f"--script={script}",
                url,
            ]
        ]

    def outcome(self, plan: Plan) -> Outcome:
        """Read what the script's `done` wrote.

        Raises:
            GeneratorError: it wrote nothing, or no whole result.
        """
        return read_result(Path(plan.folder, "result.json"))


def read_result(path: Path) -> Outcome:
    """The result that the script left at `path`.

    Raises:
        GeneratorError: there is none, or it has another form.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=Outcome)
    except FileNotFoundError:
        raise GeneratorError("wrk left no result") from None
    except msgspec.MsgspecError as error:
        raise GeneratorError(f"wrk left a result of another form: {error}") from None


def lua(value: Any) -> str:
    """A value of JSON's kinds as a Lua expression. Texts must be ASCII, as everything in a plan is.

    Raises:
        TypeError: Lua has no such value.
    """
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str() if value.isascii():
            return json.dumps(value)  # Lua knows the same escapes for ASCII
        case list():
            return "{" + ", ".join(map(lua, value)) + "}"
        case dict():
            return (
                "{" + ", ".join(f"[{lua(key)}] = {lua(item)}" for key, item in value.items()) + "}"
            )
    raise TypeError(f"{value!r} has no form in Lua")
