"""Load generators see what a real server does: every answer, every error, every caller."""

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mercenary.bench import generator, load
from mercenary.bench.http_answers import CACHE_WORDS, Answer, AnswerReader
from mercenary.bench.traffic import Ask, Target, Traffic
from mercenary.bench.wrk import lua, read_result

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
CHUNKED = b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
LAST = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"

Head = list[str]
Reply = Callable[[Head, bytes], bytes]

generators = pytest.mark.parametrize(
    "name", [name for name in generator.GENERATORS if name == "asyncio" or shutil.which(name)]
)


@asynccontextmanager
async def server(reply: Reply) -> AsyncIterator[Target]:
    """A server that answers each request by what `reply` gives; nothing means hanging up."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                length = sum(int(line[16:]) for line in head if line.startswith("Content-Length: "))
                answered = reply(head, await reader.readexactly(length))
                if not answered:
                    break
                writer.write(answered)
                if b"Connection: close" in answered:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            return  # the caller hung up
        finally:
            writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with listening:
        yield Target("127.0.0.1", listening.sockets[0].getsockname()[1])


async def under_load(
    name: generator.GeneratorName, traffic: Traffic, target: Target, connections: int = 4
) -> load.Load:
    """A second of it."""
    return await asyncio.to_thread(
        load.run, load.choose(name), traffic, target, seconds=1, connections=connections
    )


LIST = Traffic(Ask("GET", "/things"), ids=[1])


@generators
async def test_every_answer_counts_and_refusals_are_errors_and_no_part_of_the_rate(
    name: generator.GeneratorName,
) -> None:
    asked = Counter[str]()

    def reply(head: Head, body: bytes) -> bytes:
        asked[head[0]] += 1
        return BUSY if asked.total() % 2 else OK

    async with server(reply) as target:
        result = await under_load(name, LIST, target)
    outcome, half = result.outcome, result.outcome.requests / 2
    # What was under way when time was up had been asked and isn't counted.
    assert 0 < outcome.requests <= asked["GET /things HTTP/1.1"] <= outcome.requests + 8
    assert outcome.errors["status"] == result.errors == pytest.approx(half, abs=8)
    assert result.rate * outcome.seconds == pytest.approx(half, abs=8)
    assert 0 < outcome.p50_ms <= outcome.p95_ms <= outcome.p99_ms
    assert result.cpu_seconds > 0


@generators
async def test_a_server_that_hangs_up_is_an_error_each_time(name: generator.GeneratorName) -> None:
    numbers = iter(range(1_000_000))
    hung_up = Counter[bool]()

    def reply(head: Head, body: bytes) -> bytes:
        hangs_up = next(numbers) % 10 == 9
        hung_up[hangs_up] += 1
        return b"" if hangs_up else OK

    async with server(reply) as target:
        result = await under_load(name, LIST, target)
    # The generator connects anew and goes on.
    assert hung_up[True] - 4 <= result.errors <= hung_up[True]
    assert result.outcome.requests > result.errors > 4


async def test_our_own_generator_takes_chunks_and_polite_endings() -> None:
    numbers = iter(range(1_000_000))
    async with server(lambda head, body: LAST if next(numbers) % 10 == 9 else CHUNKED) as target:
        result = await under_load("asyncio", LIST, target)
    assert result.errors == 0
    assert result.outcome.requests > 10


@generators
async def test_callers_ids_bodies_and_writes_are_mixed_as_planned(
    name: generator.GeneratorName,
) -> None:
    usual = Ask("GET", "/things/{id}/part", tokens=["ada", "bob"], headers=["X-Own: a b"])
    write = Ask("POST", "/things", tokens=["eve"], bodies=['{"n": 1}', '{"n": 2}'])
    traffic = Traffic(usual, ids=[5, 6, 7], write=write, write_share=0.5)
    lines, bodies, keys = Counter[tuple[str, str]](), Counter[bytes](), Counter[str]()

    def reply(head: Head, body: bytes) -> bytes:
        token = next(line for line in head if line.startswith("Authorization: Bearer "))
        lines[head[0], token.split()[-1]] += 1
        assert ("X-Own: a b" in head) is head[0].startswith("GET")
        keys.update(line for line in head if line.startswith("Idempotency-Key: "))
        if body:
            bodies[body] += 1
        return OK

    async with server(reply) as target:
        assert (await under_load(name, traffic, target)).errors == 0
    posts = lines.pop(("POST /things HTTP/1.1", "eve"))
    expected = {
        (f"GET /things/{id}/part HTTP/1.1", token) for id in (5, 6, 7) for token in ("ada", "bob")
    }
    assert set(lines) == expected
    assert posts == pytest.approx(sum(lines.values()), rel=0.5)
    assert set(bodies) == {b'{"n": 1}', b'{"n": 2}'}
    assert sum(bodies.values()) == posts == len(keys)


async def test_a_server_that_isnt_there_is_an_error_and_no_hang() -> None:
    async with server(lambda head, body: OK) as target:
        pass
    result = await under_load("asyncio", LIST, target)
    assert result.outcome.requests == 0
    assert result.outcome.errors["connect"] > 0


def test_percentiles_are_by_nearest_rank() -> None:
    values = list(range(1, 101))
    assert [generator.percentile(values, share) for share in (0.5, 0.95, 0.99)] == [50, 95, 99]
    assert generator.percentile([7], 0.99) == 7
    assert generator.percentile([], 0.5) == 0


def test_the_busiest_side_is_told() -> None:
    outcome = generator.Outcome(100, 2.0, 1, 2, 3, {})
    assert load.Load(outcome, cpu_seconds=3.0, threads=2).share == 0.75


@pytest.mark.parametrize("answer", [OK, BUSY, CHUNKED, LAST])
def test_an_answer_is_whole_with_its_last_byte_wherever_it_is_cut(answer: bytes) -> None:
    for cut in range(1, len(answer)):
        reader = AnswerReader()
        assert reader.feed(answer[:cut]) is None
        assert reader.feed(answer[cut:]) == Answer(int(answer[9:12]), answer is LAST)


@pytest.mark.parametrize("number", range(1, len(CACHE_WORDS)))
def test_what_the_cache_did_is_read(number: int) -> None:
    head = f"HTTP/1.1 204 No Content\r\nX-Cache: {CACHE_WORDS[number]}\r\n\r\n"
    assert AnswerReader().feed(head.encode()) == Answer(204, closes=False, cache=number)


def test_an_answer_without_a_body_needs_no_length() -> None:
    assert AnswerReader().feed(b"HTTP/1.1 204 No Content\r\n\r\n") == Answer(204, closes=False)


def test_a_value_becomes_lua() -> None:
    value = {"on": True, "list": [1, 0.5, 'a "b"\r\n'], "empty": {}}
    assert lua(value) == '{["on"] = true, ["list"] = {1, 0.5, "a \\"b\\"\\r\\n"}, ["empty"] = {}}'
    with pytest.raises(TypeError):
        lua(None)


def test_what_wrk_left_is_read(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    file.write_text(
        '{"requests": 10, "seconds": 1.5, "p50_ms": 0.1, "p95_ms": 0.2, "p99_ms": 0.3,'
        ' "errors": {"status": 1, "connect": 0, "read": 2, "write": 0, "timeout": 0}}'
    )
    outcome = read_result(file)
    assert (outcome.requests, outcome.p99_ms, outcome.errors["read"]) == (10, 0.3, 2)


@pytest.mark.parametrize("left", [None, "", '{"requests": "many"}', "{}"])
def test_a_result_that_is_missing_or_broken_is_said(tmp_path: Path, left: str | None) -> None:
    file = tmp_path / "result.json"
    if left is not None:
        file.write_text(left)
    with pytest.raises(generator.GeneratorError, match="the load generator failed"):
        read_result(file)


def test_wrk_that_fails_says_why(tmp_path: Path) -> None:
    class Failing:
        name: generator.GeneratorName = "wrk"
        threads = 1

        def commands(self, plan: object) -> list[list[str]]:
            return [["sh", "-c", "echo no such host; exit 1"]]

        def outcome(self, plan: object) -> generator.Outcome:
            raise AssertionError("nothing to read")

    with pytest.raises(generator.GeneratorError, match="no such host"):
        load.run(Failing(), LIST, Target("127.0.0.1", 1), seconds=1)
