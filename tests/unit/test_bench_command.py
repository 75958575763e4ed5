"""`mercenary bench api` refuses what it can't measure: one line, and exit code 2."""

import asyncio
import base64
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from mercenary.bench.api import target_of
from mercenary.bench.marketplace import Callers, Claims, claims_of, explore, project_bodies
from mercenary.bench.processes import listener, usage
from mercenary.bench.traffic import Target
from mercenary.cli import main
from mercenary.settings import SetupError


def token(**claims: str) -> str:
    """What has a token's form; nobody here checks who made it."""
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"head.{payload}.signature"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--seconds", "0"], "--seconds"),
        (["--runs", "many"], "--runs"),
        (["--generator", "ab"], "--generator"),
        (["--json", "nowhere/at/all.json"], "is no folder"),
        (["--tokens", "file"], "--tokens belongs to --url"),
        (["--url", "http://127.0.0.1:1"], "--url needs --tokens"),
        (["--url", "http://127.0.0.1:1", "--tokens", "nowhere"], "can't be read"),
        (["--url", "http://127.0.0.1:1", "--tokens", "empty"], "is empty"),
        (["--url", "http://127.0.0.1:1", "--tokens", "prose"], "no access token"),
        (["--url", "http://127.0.0.1:1", "--tokens", "freelancers"], "none of the tokens is a"),
        (["--url", "http://127.0.0.1:1", "--tokens", "clients"], "doesn't answer"),
        (["--url", "ftp://127.0.0.1", "--tokens", "clients"], "is no address"),
        (["--url", "http://127.0.0.1:port", "--tokens", "clients"], "is no address"),
    ],
)
def test_what_the_caller_can_mend_is_one_line_and_exit_code_2(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in {
        "empty": "",
        "prose": "some words\n",
        "freelancers": token(sub="1", role="freelancer"),
        "clients": token(sub="2", role="client"),
    }.items():
        Path(name).write_text(text)
    result = CliRunner().invoke(main, ["bench", "api", *arguments])
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.output


def test_tokens_are_sorted_by_what_their_owners_may_do() -> None:
    tokens = {token(sub=role, role=role): role for role in ("client", "freelancer", "admin")}
    callers = Callers.of({text: claims_of(text) for text in tokens})
    assert list(callers.everybody) == [text for text, role in tokens.items() if role != "admin"]
    assert [claims_of(text) for text in callers.clients] == [Claims("client", "client")]
    assert [claims_of(text) for text in callers.admins] == [Claims("admin", "admin")]


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://127.0.0.1:8000", Target("127.0.0.1", 8000)),
        ("https://bench.example/market/", Target("bench.example", 443, True, "/market")),
        ("http://[::1]:80/", Target("::1", 80)),
    ],
)
def test_an_address_names_a_target(url: str, target: Target) -> None:
    assert target_of(url) == target
    assert target.url.split("//")[1].startswith(("127.0.0.1:8000", "bench.example:443", "[::1]:80"))


def test_new_projects_keep_the_contract_and_are_the_same_each_time() -> None:
    bodies = project_bodies(range(1, 9), 200)
    assert bodies == project_bodies(range(1, 9), 200)
    for body in map(json.loads, bodies):
        assert 3 <= len(body["title"]) <= 200
        assert 1 <= len(body["description"]) <= 20_000
        assert 1 <= len(set(body["skill_ids"])) == len(body["skill_ids"]) <= 5


async def test_a_server_of_another_kind_is_refused() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        target = Target("127.0.0.1", server.sockets[0].getsockname()[1])
        with pytest.raises(SetupError, match="in another form"):
            await asyncio.to_thread(explore, target, ["token"])


async def test_the_listener_on_a_port_is_found_and_measured() -> None:
    process = await asyncio.create_subprocess_exec(
        "python3",
        "-c",
        "import socket as s; l = s.create_server(('127.0.0.1', 0));"
        "print(l.getsockname()[1], flush=True); input()",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    port = int(await process.stdout.readline())
    assert listener(port) == process.pid
    used = usage(process.pid)
    assert used.cpu_seconds >= 0
    assert 1 < used.rss_mib < 1000
    await process.communicate(b"\n")
    assert listener(port) is None
    assert usage(process.pid) == usage(None) == (0.0, 0.0)
