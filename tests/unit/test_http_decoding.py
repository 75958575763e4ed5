"""Bytes to typed values: what is read, and how everything that is wrong is named at once."""

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec import UNSET, Meta, UnsetType

from mercenary.errors import BadRequest, Invalid, NotFound
from mercenary.http.decoding import BodyDecoder, QueryDecoder, parse_id, parse_query
from mercenary.http.faults import MAX_FAULTS
from mercenary.http.lists import ListQuery
from mercenary.http.wire import MAX_ID, Amount, Country, Currency, Email, Id, text

DEPTH = 32


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    size: Annotated[int, Meta(ge=1, le=5)]


class Order(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    title: Annotated[str, text(3, 20)]
    budget: Amount
    currency: Currency = Currency("USD")
    email: Email | UnsetType = UNSET
    country: Country | None = None
    status: Literal["draft", "open"] = "draft"
    parts: Annotated[list[Part], Meta(max_length=3)] = []
    tags: Annotated[list[Id], Meta(max_length=3)] = []


class Filters(ListQuery):
    status: Literal["draft", "open"] | None = None
    skill: Annotated[tuple[Id, ...], Meta(max_length=2)] = ()
    min_budget: Amount | None = None
    q: Annotated[str, Meta(min_length=1, max_length=10)] | None = None


# Machines that run tests are shared: how long a draw takes says nothing.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

ORDERS = BodyDecoder(Order, DEPTH)
PART_LISTS: BodyDecoder[list[Part]] = BodyDecoder(
    Annotated[list[Part], Meta(max_length=3)],  # type: ignore[arg-type]
    DEPTH,
)
FILTERS = QueryDecoder(Filters)


def faults_in(body: bytes) -> dict[str, str]:
    """What an order is refused for, by pointer."""
    with pytest.raises(Invalid) as refused:
        ORDERS.decode(body)
    return {fault.pointer: fault.detail for fault in refused.value.faults}


def refusal(body: bytes) -> str:
    """Why a body can't be read at all."""
    with pytest.raises(BadRequest) as refused:
        ORDERS.decode(body)
    return str(refused.value)


def parameter_faults(query: bytes) -> dict[str, str]:
    """What a query is refused for, by parameter."""
    with pytest.raises(Invalid) as refused:
        FILTERS.decode(query)
    return {fault.pointer: fault.detail for fault in refused.value.faults}


def refused(decode: Callable[[bytes], Any], given: bytes) -> BadRequest | Invalid | None:
    """What the decoder raises, when it is one of its own two; None when it accepts."""
    try:
        decode(given)
    except (BadRequest, Invalid) as error:
        return error
    return None


def order(**changes: Any) -> bytes:
    return msgspec.json.encode({"title": "Billing", "budget": "10.00"} | changes)


def test_a_body_becomes_what_it_says() -> None:
    read = ORDERS.decode(order(currency="EUR", country="DE", parts=[{"size": 2}]))
    assert read == Order("Billing", Amount("10.00"), Currency("EUR"), UNSET, Country("DE"), "draft",
                         [Part(2)])  # fmt: skip


def test_every_fault_is_named_at_once() -> None:
    body = order(
        title="ab", budget=-1, currency="XXXX", email="nobody", status="closed",
        parts=[{"size": 9}, {}], tags=[0], zzz="red",
    )  # fmt: skip
    assert faults_in(body) == {
        "/title": "Expected at least 3 characters",
        "/budget": "Expected an amount above 0",
        "/currency": "Expected an ISO 4217 currency code, such as USD",
        "/email": "Expected an e-mail address, such as ada@example.com",
        "/status": "Expected one of: draft, open",
        "/parts/0/size": "Expected a number at most 5",
        "/parts/1/size": "This field is required",
        "/tags/0": "Expected a number at least 1",
        "/zzz": "Unknown. Known: title, budget, currency, email, country, status, parts, tags",
    }


def test_a_missing_field_is_named() -> None:
    assert faults_in(b"{}") == {
        "/title": "This field is required",
        "/budget": "This field is required",
    }


def test_an_unknown_field_gets_the_nearest_known_one() -> None:
    assert faults_in(order(titel="x"))["/titel"].startswith("Unknown; did you mean title? Known: ")


def test_an_unknown_name_is_escaped_and_cut() -> None:
    found = faults_in(order(**{"a/b~c": 1, "x" * 5000: 1}))
    assert set(found) == {"/a~1b~0c", "/" + "x" * 100}


@pytest.mark.parametrize(
    ("value", "detail"),
    [
        (7, "Expected a string, got an integer"),
        (None, "Expected a string, got null"),
        ([], "Expected a string, got a list"),
        ({}, "Expected a string, got an object"),
        (True, "Expected a string, got true or false"),
        ("   ", "Expected a text that isn't blank"),
        ("", "Expected at least 3 characters"),
        ("x" * 21, "Expected at most 20 characters"),
        ("nul\x00nul", "A text can't hold the character U+0000"),
    ],
)
def test_a_wrong_type_or_text_is_said_in_words_of_json(value: Any, detail: str) -> None:
    assert faults_in(order(title=value)) == {"/title": detail}


@pytest.mark.parametrize("written", [b"2", b"2.0", b"20e-1"])
def test_a_number_without_a_fraction_is_an_integer(written: bytes) -> None:
    """As JSON Schema has it, and clients whose only numbers are floating ones."""
    read = ORDERS.decode(b'{"title": "Billing", "budget": 1, "parts": [{"size": %b}]}' % written)
    assert read.parts == [Part(2)]


@pytest.mark.parametrize("written", [b"2.5", b"1e300", b'"2"', b"true"])
def test_other_numbers_are_none(written: bytes) -> None:
    body = b'{"title": "Billing", "budget": 1, "parts": [{"size": %b}]}' % written
    assert list(faults_in(body)) == ["/parts/0/size"]


@pytest.mark.parametrize(
    ("budget", "detail"),
    [
        (0, "Expected an amount above 0"),
        (True, "Expected an amount of money, as a number or a string"),
        ({}, "Expected an amount of money, as a number or a string"),
        ("1_000", "Expected an amount of money, such as 1500.00"),
        (" 5", "Expected an amount of money, such as 1500.00"),
        ("٣", "Expected an amount of money, such as 1500.00"),
        ("NaN", "Expected an amount of money, such as 1500.00"),
        ("Infinity", "Expected an amount of money, such as 1500.00"),
        ("1.001", "Expected at most two decimal places"),
        (1e300, "Expected an amount of at most 9999999999.99"),
        (10**400, "Expected an amount of at most 9999999999.99"),
        ("1e999999999", "Expected an amount of money, such as 1500.00"),
        (0.570000001, "Expected at most two decimal places"),
    ],
)
def test_money_that_is_none_is_refused(budget: Any, detail: str) -> None:
    body = f'{{"title": "Billing", "budget": {msgspec.json.encode(budget).decode()}}}'.encode()
    assert faults_in(body) == {"/budget": detail}


@pytest.mark.parametrize("blank", [" ", "\t", "\u00a0", "\u3000", "\ufeff", "\u001c", "\u0085"])
def test_no_language_s_white_space_is_a_text(blank: str) -> None:
    """The document's pattern is read by others' regular expressions, ours by Python's."""
    assert faults_in(order(title=blank * 3)) == {"/title": "Expected a text that isn't blank"}


@patient
@given(st.text("0159.-+e_ ", max_size=14))
@example("0.00")
@example("9999999999.99")
@example("10000000000")
def test_a_text_is_money_when_it_fits_the_described_pattern(written: str) -> None:
    fits = re.search(Amount.schema["pattern"], written) is not None
    try:
        Amount.parse(written)
    except ValueError:
        assert not fits
    else:
        assert fits


@pytest.mark.parametrize("written", [b"1500", b"1500.0", b'"1500.00"', b'"01500.000"', b"1.5e3"])
def test_money_is_read_from_numbers_and_strings_alike(written: bytes) -> None:
    read = ORDERS.decode(b'{"title": "Billing", "budget": %b}' % written)
    assert str(read.budget) == "1500.00"


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (b"", "The body is empty"),
        (b" \n", "The body is empty"),
        (b"{", "isn't valid JSON"),
        (b"{'title': 1}", "isn't valid JSON"),
        (b"nothing", "isn't valid JSON"),
        (b'{"title": "\xff"}', "isn't valid JSON"),
        (b'{"title": "\\ud800"}', "isn't valid JSON"),
        (b'{"title": "\xed\xa0\x80"}', "isn't valid JSON"),
        (b'{"title": NaN}', "isn't valid JSON"),
        (b'{"title": "x"} {}', "isn't valid JSON"),
        (b"[" * 33 + b"]" * 33, "nests deeper than 32"),
        (b"[" * 500_000 + b"]" * 500_000, "nests deeper than 32"),
        (b'{"a":' * 200_000 + b"1" + b"}" * 200_000, "nests deeper than 32"),
        (b"[" + b"[]," * 340_000 + b"[]]", "too many lists"),
    ],
)
def test_a_body_that_cant_be_read_is_refused_as_a_whole(body: bytes, part: str) -> None:
    assert part in refusal(body)


@pytest.mark.parametrize("body", [b"7", b"null", b'"text"', b"true", b"[]"])
def test_a_body_of_another_kind_is_one_fault(body: bytes) -> None:
    assert list(faults_in(body)) == [""]


def test_a_number_past_all_bounds_is_a_fault_of_its_field() -> None:
    assert list(faults_in(order(tags=[1]).replace(b"[1]", b"[" + b"9" * 400 + b"]"))) == ["/tags/0"]


def test_an_escaped_nul_in_a_nested_text_is_found() -> None:
    body = b'{"title": "abc", "budget": 1, "parts": [], "country": "\\u0000"}'
    assert list(faults_in(body)) == ["/country"]


def test_a_text_that_only_spells_an_escape_is_fine() -> None:
    assert ORDERS.decode(order(title="a \\u0000 b")).title == "a \\u0000 b"


def test_a_list_is_read_no_further_than_it_may_be_long() -> None:
    body = order(parts=[{"size": 0}] * 40_000)
    assert list(faults_in(body)) == ["/parts", "/parts/0/size", "/parts/1/size", "/parts/2/size"]


def test_a_body_of_countless_faults_names_the_first_hundred() -> None:
    assert len(faults_in(order(**{f"field{number}": 1 for number in range(5000)}))) == MAX_FAULTS


def test_a_list_as_the_body_points_at_its_items() -> None:
    with pytest.raises(Invalid) as refused:
        PART_LISTS.decode(b'[{"size": 1}, {"size": 0}, 7]')
    assert [fault.pointer for fault in refused.value.faults] == ["/1/size", "/2"]


def test_parameters_become_what_they_say() -> None:
    read = FILTERS.decode(b"limit=5&skill=1&skill=2&status=open&q=a%20b&min_budget=10")
    assert (read.limit, read.skill, read.status, read.q) == (5, (1, 2), "open", "a b")
    assert read.min_budget == Amount("10")
    assert FILTERS.decode(b"q=null").q == "null"


def test_no_parameters_are_the_defaults() -> None:
    assert FILTERS.decode(b"") == Filters()


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        (b"limit=0", "?limit"),
        (b"limit=101", "?limit"),
        (b"limit=" + b"9" * 500, "?limit"),
        (b"limit=ten", "?limit"),
        (b"limit=", "?limit"),
        (b"limit=5&limit=6", "?limit"),
        (b"status=closed", "?status"),
        (b"status=null", "?status"),
        (b"status=N%75ll", "?status"),
        (b"min_budget=null", "?min_budget"),
        (b"skill=0", "?skill"),
        (b"skill=1&skill=2&skill=3", "?skill"),
        (b"q=", "?q"),
        (b"q=%00", "?q"),
        (b"min_budget=-5", "?min_budget"),
        (b"pages=3", "?pages"),
        (b"=3", "?"),
    ],
)
def test_a_wrong_parameter_is_named(query: bytes, parameter: str) -> None:
    assert list(parameter_faults(query)) == [parameter]


def test_every_wrong_parameter_is_named_at_once() -> None:
    faults = parameter_faults(b"limit=0&status=closed&colour=red")
    assert set(faults) == {"?limit", "?status", "?colour"}
    assert "Known: status, skill, min_budget, q, limit, cursor" in faults["?colour"]


def test_a_strange_name_is_cut_and_cleaned_before_it_is_named() -> None:
    name = b"a%00b" + b"c" * 500
    faults = parameter_faults(name + b"=1&" + name + b"=2")
    assert list(faults) == ["?ab" + "c" * 97]


@pytest.mark.parametrize("query", [b"q=%ff", b"q=%ed%a0%80", b"q=\xc3\xa4", b"a&" * 65])
def test_a_query_that_cant_be_read_is_refused_as_a_whole(query: bytes) -> None:
    with pytest.raises(BadRequest):
        FILTERS.decode(query)


@pytest.mark.parametrize("value", ["1", "17", str(MAX_ID)])
def test_an_id_is_read(value: str) -> None:
    assert parse_id(value, "project") == int(value)


@pytest.mark.parametrize(
    "value",
    ["0", "-1", "+1", "01", "1.0", "1e3", " 1", "٣", "x", str(MAX_ID + 1), "9" * 5000, "1_0", "²"],
)
def test_what_cant_be_an_id_is_not_found(value: str) -> None:
    with pytest.raises(NotFound):
        parse_id(value, "project")


@patient
@given(st.binary(max_size=200))
def test_no_bytes_do_worse_than_be_refused(body: bytes) -> None:
    """Whatever comes, the decoder answers or raises one of its own two."""
    error = refused(ORDERS.decode, body)
    assert error is None or error.status in (400, 422)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


@patient
@given(
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(Order.__struct_fields__, json_values) | {"other": json_values},
    )
)
def test_an_object_is_read_or_every_fault_lies_inside_it(value: dict[str, Any]) -> None:
    """What is accepted has nothing to name; what is refused names fields that are really wrong."""
    error = refused(ORDERS.decode, msgspec.json.encode(value))
    if isinstance(error, Invalid):
        assert error.faults
        wrong = {fault.pointer.split("/")[1] for fault in error.faults}
        assert wrong <= {*Order.__struct_fields__, *value}
        assert wrong >= {"title", "budget"} - set(value)
    elif error is not None:
        assert "out of range" in str(error)


@patient
@given(
    st.lists(
        st.tuples(st.sampled_from(["limit", "q", "skill", "other"]), st.text(max_size=12)),
        max_size=6,
    )
)
def test_any_parameters_are_read_or_named(pairs: list[tuple[str, str]]) -> None:
    """A query's faults name parameters that were given."""
    query = urlencode(pairs, errors="replace").encode()
    error = refused(FILTERS.decode, query)
    if error is not None:
        named = {fault.pointer for fault in error.faults}
        assert named
        assert named <= {f"?{name}" for name, _ in pairs}


@patient
@given(st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), max_size=8))
def test_a_query_reads_back_as_it_was_written(pairs: list[tuple[str, str]]) -> None:
    kept = [pair for pair in pairs if not any("\ud800" <= c <= "\udfff" for c in "".join(pair))]
    assert parse_query(urlencode(kept).encode()) == kept
