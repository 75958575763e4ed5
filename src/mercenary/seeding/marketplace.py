"""Projects and proposals, a slice at a time, each slice from a source of chance of its own.

Projects follow each other in time and get denser towards the epoch. A project's age decides in
which state it probably is; popularity (of clients, skills, freelancers, and how many bid for a
project) follows Zipf laws.
"""

from collections.abc import Iterator, Sequence
from itertools import product
from random import Random
from typing import Final, NamedTuple

from mercenary.seeding.binary import NULL, numeric, project, project_skill, proposal, text
from mercenary.seeding.chance import VOWELS, Words, Zipf, chance, pick, with_an
from mercenary.seeding.fields import FIELDS, Field
from mercenary.seeding.people import INDUSTRIES, UNITS_PER_DOLLAR
from mercenary.seeding.phrases import (
    APPROACHES,
    CLOSINGS,
    EXPERIENCE,
    GREETINGS,
    NEEDS,
    OFFERS,
    OPENINGS,
    SIGNATURES,
    TERMS,
)
from mercenary.seeding.population import DAY, LAUNCH, SKILL_IDS, Person, Population

PROPOSALS_PER_PROJECT: Final = 4
SLICE_PROJECTS: Final = 1000
MOST_BIDS: Final = 150
HOUR: Final = DAY // 24
# The younger a project, the likelier it still stands open: (days of age, shares by status).
_STATUSES: Final = ("draft", "open", "in_progress", "completed", "cancelled")
_SHARES: Final = (
    (30, (12, 70, 13, 2, 3)),
    (120, (4, 25, 41, 22, 8)),
    (10_000, (2, 6, 10, 70, 12)),
)
_BY_AGE: Final = tuple(
    (days, [status for status, share in zip(_STATUSES, shares, strict=True) for _ in range(share)])
    for days, shares in _SHARES
)
_DOLLARS: Final = (
    400, 250, 800, 150, 1200, 500, 2000, 100, 3000, 600, 5000, 300, 1500, 80, 8000, 12_000, 25_000,
)  # fmt: skip

# Sentences put together beforehand: four hundred thousand letters are written at 100k.
_HEADS: Final = [f"{hello}\n\n{text}" for hello, text in product(GREETINGS, EXPERIENCE)]
_HEADS_AN: Final = [with_an(head) for head in _HEADS]
_TAILS: Final = [
    f" {approach} {offer}\n\n{signature}"
    for approach, offer, signature in product(APPROACHES, OFFERS, SIGNATURES)
]

_ACCEPTED: Final = "accepted"
_REJECTED: Final = "rejected"
_WITHDRAWN: Final = "withdrawn"
_FATES: Final = ("pending", _ACCEPTED, _REJECTED, _WITHDRAWN)

PROJECT_COLUMNS: Final = (
    "id", "client_id", "created_at", "updated_at", "version", "proposal_count",
    "status", "currency", "budget", "title", "description", "lowest_bid", "client_name",
)  # fmt: skip
PROPOSAL_COLUMNS: Final = (
    "id", "project_id", "freelancer_id", "created_at", "updated_at", "version",
    "estimated_days", "status", "currency", "bid", "cover_letter",
)  # fmt: skip


class Slice(NamedTuple):
    """Rows in the order of ids, in the binary format of COPY."""

    projects: bytes
    project_skills: bytes
    proposals: bytes


class _Draft(NamedTuple):
    id: int
    client: Person
    created: int
    decided: int  # when bidding ended; at the latest, now
    status: str
    dollars: int
    field: int
    skills: list[str]
    thing: str

    @property
    def hired(self) -> bool:
        return self.status in ("in_progress", "completed")

    @property
    def currency(self) -> str:
        return self.client.country.currency


class Marketplace:
    """The projects of a scale and a seed."""

    def __init__(self, projects: int, population: Population) -> None:
        self.projects = projects
        self.population = population
        random = chance(population.seed, "popularity")
        self._clients = Zipf(random.sample(population.clients, len(population.clients)), 1.0)
        everybody = random.sample(population.freelancers, len(population.freelancers))
        self._founders = [person for person in everybody if person.joined < LAUNCH]
        self._founding_clients = [each for each in population.clients if each.joined < LAUNCH]
        self._freelancers = Zipf(everybody, 0.6)
        self._by_field = [
            Zipf([person for person in everybody if person.field == field] or everybody, 0.6)
            for field in range(len(FIELDS))
        ]
        self._fields = Zipf(range(len(FIELDS)), 0.4)
        self._dollars = Zipf(_DOLLARS, 0.5)

    def slice(self, number: int) -> Slice:
        """One slice; the same whichever slices were made before."""
        random = chance(self.population.seed, "slice", number)
        first = number * SLICE_PROJECTS
        last = min(first + SLICE_PROJECTS, self.projects)
        drafts = [self._draft(random, number) for number in range(first, last)]
        projects: list[bytes] = []
        skills: list[bytes] = []
        proposals: list[bytes] = []
        proposal_id = first * PROPOSALS_PER_PROJECT + 1
        counts = self._bid_counts(random, drafts)
        for draft, count in zip(drafts, counts, strict=True):
            bids = list(self._bids(random, draft, count, proposal_id))
            proposals += [row for _, row in bids]
            projects.append(_project_row(random, draft, [bid for bid, _ in bids if bid]))
            ids = sorted(SKILL_IDS[skill] for skill in draft.skills)
            skills += [project_skill(draft.id, skill_id) for skill_id in ids]
            proposal_id += count
        return Slice(*(b"".join(rows) for rows in (projects, skills, proposals)))

    def _draft(self, random: Random, number: int) -> _Draft:
        # The exponent below 1 makes the marketplace grow: fewer projects at first, more at last.
        share = ((number + random.random()) / self.projects) ** 0.6
        created = LAUNCH + int(share * (-LAUNCH - DAY))
        age = -created
        status = pick(random, next(each for days, each in _BY_AGE if age < days * DAY))
        field = self._fields.draw(random)
        skills = self.population.skills[field].draw_some(random, 1 + int(random.random() * 5))
        return _Draft(
            number + 1,
            self._client(random, created),
            created,
            created + min(14 * DAY, age // 2),
            status,
            self._dollars.draw(random),
            field,
            skills,
            pick(random, FIELDS[field].things),
        )

    def _client(self, random: Random, when: int) -> Person:
        for _ in range(4):
            client = self._clients.draw(random)
            if client.joined < when:
                return client
        return pick(random, self._founding_clients)

    def _bid_counts(self, random: Random, drafts: Sequence[_Draft]) -> list[int]:
        """How many bid for each: four on average exactly, skewed, none for drafts."""
        most = min(MOST_BIDS, len(self._founders))
        counts = [int(draft.hired) for draft in drafts]
        offered = [place for place, draft in enumerate(drafts) if draft.status != "draft"]
        total = min(PROPOSALS_PER_PROJECT * len(drafts), most * len(offered))
        popular = Zipf(random.sample(offered, len(offered)), 0.6)
        while (left := total - sum(counts)) > 0:
            for place in popular.draw_many(random, left):
                if counts[place] < most:
                    counts[place] += 1
        return counts

    def _bidders(self, random: Random, draft: _Draft, count: int) -> list[Person]:
        chosen: dict[int, Person] = {}
        for source, extra in ((self._by_field[draft.field], 2), (self._freelancers, count)):
            for person in source.draw_many(random, count + extra):
                if person.joined < draft.created:
                    chosen[person.id] = person
                if len(chosen) == count:
                    return list(chosen.values())
        # There were enough of them from the beginning, whoever else has joined since.
        start = int(random.random() * len(self._founders))
        for person in self._founders[start:] + self._founders[:start]:
            if len(chosen) == count:
                break
            chosen[person.id] = person
        return list(chosen.values())

    def _bids(
        self, random: Random, draft: _Draft, count: int, first_id: int
    ) -> Iterator[tuple[int, bytes]]:
        """What each bids, 0 where it was withdrawn, and the proposal's row."""
        if not count:
            return
        hired, luck = draft.hired, random.random
        opened, span = draft.created + HOUR // 2, draft.decided - draft.created - HOUR
        # Most bids come early.
        times = sorted([opened + int(luck() ** 2 * span) for _ in range(count)])
        winner = int(luck() * count) if hired else -1
        units = UNITS_PER_DOLLAR[draft.currency]
        root = draft.dollars**0.5 / 2
        codes = {status: text(status) + text(draft.currency) for status in _FATES}
        rows = zip(self._bidders(random, draft, count), times, strict=True)
        for place, (person, when) in enumerate(rows):
            status, updated, version = _REJECTED, draft.decided, 2
            if not hired:
                status, updated, version = _fate(random, draft, when)
            elif place == winner:
                status = _ACCEPTED
            share = 0.6 + luck() * 0.6
            bid = max(5, round(draft.dollars * share / 5) * 5) * units
            letter = _letter(random, draft, person)
            row = (
                proposal(
                    *(first_id + place, draft.id, person.id, when, updated, version),
                    1 + int(root * share),
                )
                + codes[status]
                + numeric(bid)
                + text(letter)
            )
            yield (0 if status == _WITHDRAWN else bid), row


def _fate(random: Random, draft: _Draft, when: int) -> tuple[str, int, int]:
    """Status, time of the last change and version of a bid for a project without a winner."""
    luck = random.random()
    if draft.status == "open":
        if luck < 0.8:
            return "pending", when, 1
        later = when + int(random.random() * (draft.decided - when))
        return ("pending" if luck < 0.87 else "rejected" if luck < 0.95 else "withdrawn"), later, 2
    return ("rejected" if luck < 0.8 else "withdrawn"), draft.decided, 2


def _project_row(random: Random, draft: _Draft, bids: Sequence[int]) -> bytes:
    """A project that has these bids; those that were withdrawn don't count."""
    updated, version = {
        "draft": (draft.created + int(random.random() * HOUR), 2),
        "open": (draft.created, 1),
        "in_progress": (draft.decided, 3),
        "completed": (draft.decided - int(random.random() * draft.decided), 4),
        "cancelled": (draft.decided, 2),
    }[draft.status]
    words = Words(
        skill=draft.skills[0],
        other=draft.skills[-1] if len(draft.skills) > 1 else "project management",
        thing=draft.thing,
        industry=pick(random, INDUSTRIES),
        people=3 + int(random.random() * 40),
        years=2 + int(random.random() * 8),
        weeks=2 + int(random.random() * 9),
    )
    field = FIELDS[draft.field]
    title = words.fill(pick(random, field.titles))
    if random.random() < 0.4:
        title += f", {pick(random, INDUSTRIES).split(' ', 1)[1]}"
    fields = (
        project(draft.id, draft.client.id, draft.created, updated, version, len(bids)),
        text(draft.status),
        text(draft.currency),
        numeric(draft.dollars * UNITS_PER_DOLLAR[draft.currency]),
        text(title[:1].upper() + title[1:]),
        text(_description(random, field, words)),
        numeric(min(bids)) if bids else NULL,
        text(draft.client.name),
    )
    return b"".join(fields)


def _description(random: Random, field: Field, words: Words) -> str:
    """Three to five sentences; longer ones cost PostgreSQL more than all the rest does."""
    sentences = [pick(random, OPENINGS), pick(random, field.tasks)]
    luck = random.random()
    if luck < 0.2:
        sentences.append(pick(random, NEEDS))
    if luck > 0.8:
        sentences.append(f"We expect {pick(random, field.results)}.")
    if 0.1 < luck < 0.3:
        sentences.append(pick(random, TERMS))
    sentences.append(pick(random, CLOSINGS))
    return words.fill(" ".join(sentences))


def _letter(random: Random, draft: _Draft, person: Person) -> str:
    head = pick(random, _HEADS_AN if draft.thing[0] in VOWELS else _HEADS)
    return head.format(
        skill=draft.skills[0],
        thing=draft.thing,
        years=2 + (person.id * 7 + draft.id) % 12,
        weeks=2 + (person.id + draft.id) % 9,
    ) + pick(random, _TAILS)
