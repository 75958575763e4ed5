"""What schemathesis has to be told, because no schema can say it; its process loads this.

A schema says which requests are well-formed, not which things exist, that a cursor must have been
given out, or that one parameter needs another. Wherever a made-up value fits its schema and could
not be in force, it is put right here, so that valid requests get through; a value that doesn't fit
is left alone, so that none that must be refused becomes good.
"""

import atexit
import itertools
import json
import os
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import msgspec
import schemathesis
from schemathesis import Case, HookContext, Response

from tests.assets import SCRIPT
from tests.fuzz.stage import Stage

stage = msgspec.json.decode(Path(os.environ["FUZZ_STAGE"]).read_bytes(), type=Stage)
chance = random.Random(int(os.environ["FUZZ_SEED"]))
role = os.environ["FUZZ_ROLE"]
counted: Counter[str] = Counter()
numbers = itertools.count(chance.randrange(10**9))

# What ends sessions is asked by somebody who is there for that alone.
ENDING = {"logout", "leave", "change_password"}
CURSOR = re.compile(r"[A-Za-z0-9_-]+")
DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
MAX_ID = 2**63 - 1
OWN_TOKEN = f"Bearer {stage.tokens.get(role)}"


@schemathesis.hook
def before_call(context: HookContext, case: Case[Any], kwargs: dict[str, Any]) -> None:
    """Put a case right before it is sent."""
    name = case.operation.definition.raw["operationId"]
    if case.meta is None or case.meta.phase.name.value != "stateful":
        _name_something_real(name, case.path_parameters)
    if isinstance(case.query, dict):
        _mend_query(case.query)
    _mend_headers(name, case)
    if isinstance(case.body, dict | list):
        case.body = _mended(name, case.body)


@schemathesis.hook
def after_call(context: HookContext, case: Case[Any], response: Response) -> None:
    """Count what was answered to the endpoint itself; other methods of its path are asked, too."""
    if response.request.method == case.operation.method.upper():
        name = case.operation.definition.raw["operationId"]
        counted[f"{name} {response.status_code}"] += 1


@atexit.register
def _write_counts() -> None:
    Path(os.environ["FUZZ_COUNTS"]).write_text(json.dumps(counted))


def _name_something_real(name: str, path: dict[str, Any]) -> None:
    if _is_id(path.get("id")) and name in stage.ids and chance.random() < 0.8:
        path["id"] = chance.choice(stage.ids[name])
    if isinstance(path.get("name"), str) and chance.random() < 0.5:
        path["name"] = SCRIPT
    if isinstance(path.get("slug"), str) and chance.random() < 0.5:
        path["slug"] = "not-found"


def _mend_query(query: dict[str, Any]) -> None:
    cursor = query.get("cursor")
    if isinstance(cursor, str) and CURSOR.fullmatch(cursor):
        del query["cursor"]
    page, limit = (str(query.get(name, default)) for name, default in (("page", 1), ("limit", 20)))
    if page.isdecimal() and limit.isdecimal() and int(page) <= 10_000 < int(page) * int(limit):
        query["page"] = 1
    if query.get("sort") == "-relevance":
        query.setdefault("q", "service")
    _mend_days(query)
    bounds = [query.get("min_budget"), query.get("max_budget")]
    try:
        low, high = (float(str(bound)) for bound in bounds)
    except ValueError:
        return
    if low > high:
        query["min_budget"], query["max_budget"] = bounds[::-1]


def _mend_days(query: dict[str, Any]) -> None:
    """The days of statistics come in their order, and a year of them at most."""
    days = [query[name] for name in ("from", "to") if name in query]
    if "from" in query and all(isinstance(day, str) and DAY.fullmatch(day) for day in days):
        query["from"], query["to"] = min(days), max(days)
        if query["from"][:4] != query["to"][:4]:
            query["from"] = query["to"]


def _mend_headers(name: str, case: Case[Any]) -> None:
    headers = case.headers
    if re.fullmatch(r"[!-~]{1,255}", headers.get("Idempotency-Key", "")):
        new = f"-{role}-{next(numbers)}"
        headers["Idempotency-Key"] = headers["Idempotency-Key"][: 255 - len(new)] + new
    if "If-Match" in headers:  # any text may be an ETag
        headers["If-Match"] = "*"
    if name in ENDING and headers.get("Authorization") == OWN_TOKEN:
        headers["Authorization"] = f"Bearer {_somebody()['access_token']}"


def _mended(name: str, body: Any) -> Any:
    if name == "replace_own_skills" and isinstance(body, list):
        real = iter(chance.sample(stage.skill_ids, len(stage.skill_ids)))
        return [
            item | {"skill_id": next(real)}
            if isinstance(item, dict) and _is_id(item.get("skill_id"))
            else item
            for item in body[: len(stage.skill_ids)]
        ]
    if not isinstance(body, dict):
        return body
    body = dict(body)
    if isinstance(body.get("skill_ids"), list):
        body["skill_ids"] = [
            chance.choice(stage.skill_ids) if _is_id(each) else each for each in body["skill_ids"]
        ]
    if name == "register" and _is_text(body.get("password"), 12, 128):
        body["password"] = stage.password
    if name == "change_password" and _is_text(body.get("new"), 12, 128):
        body["new"] = f"{stage.password} {next(numbers)}"
        if _is_text(body.get("current"), 0, 128):
            body["current"] = stage.password
    if name == "refresh" and _is_text(body.get("refresh_token"), 1, 200) and chance.random() < 0.5:
        body["refresh_token"] = _somebody()["refresh_token"]
    return body


def _somebody() -> Any:
    """Tokens of an account that nobody else uses."""
    account = {
        "email": f"{role}-{next(numbers)}@example.com",
        "password": stage.password,
        "name": "Somebody",
        "role": role if role in ("client", "freelancer") else "client",
    }
    for path in ("register", "login"):
        given = account if path == "register" else {k: account[k] for k in ("email", "password")}
        answer = httpx.post(f"{stage.url}/api/v1/auth/{path}", json=given, timeout=30)
        answer.raise_for_status()
    return answer.json()


def _is_id(value: Any) -> bool:
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return whole and not isinstance(value, bool) and 1 <= value <= MAX_ID


def _is_text(value: Any, shortest: int, longest: int) -> bool:
    return isinstance(value, str) and shortest <= len(value) <= longest
