"""The people of a seeded marketplace: half were there at its launch, the others joined since.

Users' ids follow the time at which they joined.
"""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any, Final

from mercenary.seeding.chance import Words, Zipf, chance, pick
from mercenary.seeding.fields import FIELDS, SKILLS
from mercenary.seeding.people import COUNTRIES, INDUSTRIES, POSITIONS, UNITS_PER_DOLLAR, Country
from mercenary.seeding.phrases import BIOS, HEADLINES

# Fixed, so that the same seed gives the same rows on any day.
EPOCH: Final = datetime(2026, 10, 1, tzinfo=UTC)
DAY: Final = 86_400_000_000  # microseconds, the unit of every time before it is stored
LAUNCH: Final = -730 * DAY
FOUNDING_DAYS: Final = 90
SKILL_IDS: Final = {skill: number for number, skill in enumerate(SKILLS, 1)}
# What NFKD doesn't take apart.
_PLAIN: Final = str.maketrans(
    {"ł": "l", "Ł": "L", "ø": "o", "ß": "ss", "\u0131": "i", "đ": "d", "'": ""}
)
Row = tuple[Any, ...]


def moment(microseconds: int) -> datetime:
    """The time that many microseconds after the epoch; negative before it."""
    return EPOCH + timedelta(microseconds=microseconds)


@dataclass(frozen=True, slots=True)
class Person:
    """What the marketplace needs to know of a user. `field` is an index into FIELDS."""

    id: int
    given: str
    family: str
    joined: int
    role: str
    country: Country
    field: int
    skills: tuple[str, ...]

    @property
    def name(self) -> str:
        """As others see it."""
        return f"{self.given} {self.family}"


class Population:
    """All users of a scale and a seed."""

    def __init__(self, count: int, seed: int) -> None:
        self.seed = seed
        self.skills = [Zipf(field.skills, 0.9) for field in FIELDS]
        random = chance(seed, "population")
        self.people = self._people(random, count)
        self.clients = [person for person in self.people if person.role == "client"]
        self.freelancers = [person for person in self.people if person.role == "freelancer"]

    @property
    def founders(self) -> int:
        """How many freelancers were there when the first project was posted."""
        return sum(person.joined < LAUNCH for person in self.freelancers)

    def _people(self, random: Random, count: int) -> list[Person]:
        founders = count // 2
        joined = [LAUNCH - int(random.random() * FOUNDING_DAYS * DAY) for _ in range(founders)]
        joined += [int(random.random() * LAUNCH) - DAY for _ in range(count - founders)]
        homes = [country for country in COUNTRIES for _ in range(country.weight)]
        fields = Zipf(range(len(FIELDS)), 0.5)
        people = []
        for id, when in enumerate(sorted(joined), 1):
            field = fields.draw(random)
            number = 2 + int(random.random() * 6)
            country = pick(random, homes)
            people.append(
                Person(
                    id,
                    pick(random, country.given),
                    pick(random, country.family),
                    when,
                    _role(id),
                    country,
                    field,
                    tuple(self.skills[field].draw_some(random, number)),
                )
            )
        return people

    def skill_rows(self) -> Iterator[Row]:
        """(id, created_at, updated_at, name)."""
        opened = moment(LAUNCH - FOUNDING_DAYS * DAY)
        return ((id, opened, opened, name) for name, id in SKILL_IDS.items())

    def user_rows(self) -> Iterator[Row]:
        """As `USER_COLUMNS`."""
        random = chance(self.seed, "profiles")
        return (_profile(random, person) for person in self.people)

    def user_skill_rows(self) -> Iterator[Row]:
        """(user_id, skill_id, level)."""
        random = chance(self.seed, "levels")
        for person in self.freelancers:
            for skill in person.skills:
                yield person.id, SKILL_IDS[skill], 5 - int(random.random() ** 1.5 * 5)


USER_COLUMNS: Final = (
    "id", "created_at", "updated_at", "role", "email", "name",
    "country", "currency", "hourly_rate", "headline", "bio",
)  # fmt: skip


def _role(id: int) -> str:
    """One admin in a thousand; of ten others three are clients."""
    if id % 1000 == 1:
        return "admin"
    return "client" if id % 10 in (2, 5, 8) else "freelancer"


def _profile(random: Random, person: Person) -> Row:
    country = person.country
    joined = moment(person.joined)
    if random.random() < 0.5:
        updated = moment(person.joined + int(random.random() * -person.joined))
    else:
        updated = joined
    mailbox = f"{_ascii(person.given)}.{_ascii(person.family)}{person.id}"
    if random.random() < 0.8:
        mailbox = mailbox.lower()
    headline, bio = "", ""
    rate = None
    if person.role == "client":
        headline = f"{pick(random, POSITIONS)} at {pick(random, INDUSTRIES)}"
    elif person.role == "freelancer":
        headline, bio = _introduction(random, person)
        rate = Decimal(
            (3 + int(random.random() ** 2 * 30)) * 5 * UNITS_PER_DOLLAR[country.currency]
        )
    return (
        person.id,
        joined,
        updated,
        person.role,
        f"{mailbox}@people.mercenary.example",
        person.name,
        country.code,
        country.currency,
        rate,
        headline,
        bio,
    )


def _introduction(random: Random, person: Person) -> tuple[str, str]:
    words = Words(
        skill=person.skills[0],
        other=person.skills[-1] if len(person.skills) > 1 else "teaching",
        trade=FIELDS[person.field].trade,
        industry=pick(random, INDUSTRIES),
        years=2 + int(random.random() * 18),
    )
    headline = words.fill(pick(random, HEADLINES))
    sentences = random.sample(BIOS, 3)
    return headline[:1].upper() + headline[1:], " ".join(map(words.fill, sentences))


def _ascii(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name.translate(_PLAIN))
    return "".join(letter for letter in plain if letter.isascii() and letter.isalpha())
