"""The weeks of a soak test and the expected members after each, derived from the season's number."""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_cij.api.segments.models import MemberGroup
from airflow_provider_cij.api.segments.spec import SegmentSpec

# What the example DAG names so.
KEY, NAME, GROUP = "cij_weekly_refresh.create_segment", "Newsletter audience", "From the warehouse"
KEPT_OUT = MemberGroup("Kept out", include=False)
DIRT = ["", "n/a", "ada@contoso.test", "0f5b0c7f-395d-447b", "#REF!"]
STRANGERS = [str(uuid.UUID(int=number)) for number in range(1, 7001)]
SEGMENT_ID = SegmentSpec(KEY, NAME).segment_id

LOGIN = "/oauth2/v2.0/token$"
CODES = ("0x80072322", "0x80072321", "0x80072326")
TOLD = 1
# How often each strikes a request of any kind; in each week another one also strikes for certain.
ANY = {
    "503": ({"body": "html"}, 0.03),
    "503 done": ({"body": "json", "processed": True}, 0.03),
    "502": ({"processed": True}, 0.03),
    "reset": ({"close": "rst"}, 0.04),
    "lost": ({"close": "eof"}, 0.04),
    "truncated": ({}, 0.03),
    "truncated evenly": ({"consistent": True}, 0.03),
    "slow": ({"delay": 0.02, "reply_delay": 0.02}, 0.05),
    # In a week with much to add: the other one that adds has to wait as well.
    "429": ({"retry_after": TOLD, "path": "AddStaticMembers$"}, 0),
    "html200": ({}, 0.02),
}


def faults_of(season: int, number: int) -> list[dict[str, Any]]:
    """Return the fault rules of a week."""
    dice = random.Random(f"faults {season}/{number}")  # noqa: S311
    certain = list(ANY)[number % len(ANY)]
    rules: list[dict[str, Any]] = [
        {"fault": certain.split()[0], "method": "POST", "count": 1, **ANY[certain][0]},
        # A second refusal of a token is final, so there is one a week.
        {"fault": "401", "invalidate": True, "after": dice.randrange(12), "count": 1},
        {"path": LOGIN, "count": 1} | ({"fault": "503"} if number % 5 else {"fault": "429", "retry_after": 0}),
        {"fault": "429", "method": "GET", "retry_after": 0, "probability": 0.01},
    ]
    rules += [{"fault": name.split()[0], **how, "probability": odds} for name, (how, odds) in ANY.items() if odds]
    for rule in rules:
        if rule["fault"] == "429":
            rule["code"] = CODES[(season + number) % len(CODES)]
    return [rule | {"seed": dice.getrandbits(40)} for rule in rules]


@dataclass
class Model:
    """The members of each group, as plain sets.

    :param contacts: the organisation's contacts with their credit limits
    """

    contacts: dict[str, float]
    invited: set[str] = field(default_factory=set)
    kept_out: set[str] = field(default_factory=set)
    least: int = 19_000

    @property
    def members(self) -> set[str]:
        """Members of query and include without exclude."""
        return (
            {contact for contact, limit in self.contacts.items() if limit >= self.least} | self.invited
        ) - self.kept_out

    @property
    def spec(self) -> SegmentSpec:
        """The segment as the week's DAG defines it."""
        return SegmentSpec(KEY, NAME, self.query, (MemberGroup(GROUP), KEPT_OUT))

    @property
    def query(self) -> str:
        """The segment's query."""
        return f"PROFILE(contact).FILTER(creditlimit >= {self.least})"


@dataclass
class Week:
    """The events of one week.

    :param dag: whether the example DAG runs, or the hook
    :param between: what happened to the segment since the week before
    :param death: how a worker dies, once in the week
    :param rows: the audience as written in the file, with mistakes
    """

    dag: bool
    between: str
    death: str
    rows: list[str]


def turn(model: Model, season: int, number: int) -> Week:
    """Advance the model by a week."""
    dice = random.Random(f"week {season}/{number}")  # noqa: S311
    dag = number % 5 == season % 5
    everybody = [*model.contacts, *STRANGERS]

    def some(people: set[str], most: float) -> set[str]:
        return set(dice.sample(sorted(people), int(len(people) * dice.uniform(0, most))))

    # The example takes a list for broken that is a fifth shorter.
    model.invited -= some(model.invited, 0.15 if dag else 0.6)
    much = list(ANY)[number % len(ANY)] == "429"
    model.invited |= set(everybody if much else dice.sample(everybody, dice.randint(0, 3000)))
    if not dag:
        model.kept_out = some(model.kept_out, 1) | set(dice.sample(everybody, dice.randint(0, 400)))
    model.least = dice.choice([model.least, model.least, 0, 12_000, 19_500])
    rows = sorted(model.invited)
    rows = [dice.choice([str, str.upper, "{{{}}}".format])(row) for row in rows + rows[: dice.randint(0, 50)]]
    rows += dice.choices(DIRT, k=dice.randint(1, 20))
    dice.shuffle(rows)
    return Week(
        dag,
        dice.choice(["stopped", "expired", "a week", "a week"]) if number else "nothing",
        "raise" if dag else {1: "raise", 3: "kill", 5: "stop", 7: "raise"}.get(number, "none"),
        rows,
    )
