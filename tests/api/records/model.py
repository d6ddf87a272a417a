"""What an upsert does, in plain Python, and lists to try it with."""

from __future__ import annotations

import unicodedata
from collections import Counter

from hypothesis import strategies as st

COLUMNS = ("new_customerno", "lastname", "jobtitle", "gendercode", "creditlimit")
LABELS = {"male": 1, "female": 2}

keys = st.one_of(
    st.sampled_from(["k1", "K1", "k2", " k3 ", "Å", "å", "ss", "ß", "ẞ", "O'N", "a b", "", None]),
    st.uuids().map(lambda u: u.hex[:8]),
)
texts = st.sampled_from(["A", "a", "Ü", "", None, "x" * 50, 'O\'Hara "q"', "=1", "😀" * 20, "x" * 51])
rows = st.fixed_dictionaries(
    {
        "new_customerno": keys,
        "lastname": texts,
        "jobtitle": texts,
        "gendercode": st.sampled_from(["Male", "female", 1, "2", "", None, "Whale", 9]),
        "creditlimit": st.sampled_from(["1.5", 1.5, 0, "", None, "1e3", "-1", "many", 10.0]),
    }
)
lists = st.lists(rows, max_size=30)
options = st.fixed_dictionaries(
    {
        "mode": st.sampled_from(["upsert", "update_only", "create_only"]),
        "clear_empty": st.booleans(),
        "duplicates": st.sampled_from(["first", "last"]),
        "skip_unchanged": st.booleans(),
        "batch_size": st.sampled_from([1, 3, 100]),
    }
)


def utf16(text):
    """Return the length of a text as .NET counts it."""
    return len(text.encode("utf-16-le")) // 2


def wide(key):
    """Return a key as a database without regard to case and accents compares it."""
    return "".join(sign for sign in unicodedata.normalize("NFKD", key.casefold()) if not unicodedata.combining(sign))


def typed(row):
    """Return a row's values by their columns' types, ``...`` for none; None for an invalid row."""
    number = (row["new_customerno"] or "").strip()
    if not number:
        return None
    values = {"new_customerno": number}
    for name, limit in (("lastname", 50), ("jobtitle", 100)):
        text = row[name]
        if not (text or "").strip():
            values[name] = ...
            continue
        if utf16(text) > limit:
            return None
        values[name] = text
    gender = row["gendercode"]
    if gender in ("", None):
        values["gendercode"] = ...
    else:
        code = LABELS.get(str(gender).lower(), int(gender) if str(gender).isdigit() else 0)
        if code not in (1, 2):
            return None
        values["gendercode"] = code
    limit = row["creditlimit"]
    if limit in ("", None):
        values["creditlimit"] = ...
    else:
        try:
            values["creditlimit"] = float(limit)
        except ValueError:
            return None
        if values["creditlimit"] < 0:
            return None
    return values


def distinct(given, duplicates, counts):
    """Return the valid rows that count, by their keys."""
    chosen = {}
    for row in given:
        values = typed(row)
        if values is None:
            counts["invalid"] += 1
            continue
        key = wide(values["new_customerno"])
        if key in chosen:
            counts["duplicate"] += 1
            if duplicates == "first":
                continue
        chosen[key] = values
    return chosen


def upserted(before, given, mode, clear_empty, duplicates, skip_unchanged, batch_size):
    """Return the rows after an upsert by their keys in lower case, and the counts.

    :param before: the rows before, by their keys in lower case
    """
    counts = Counter(read=len(given))
    chosen = distinct(given, duplicates, counts)
    after = {key: dict(row) for key, row in before.items()}
    by_service = {wide(key) for key in before}
    for values in chosen.values():
        key = values["new_customerno"].lower()
        wanted = {
            name: None if value is ... else value
            for name, value in values.items()
            if name != "new_customerno" and (value is not ... or clear_empty)
        }
        if key not in before:
            if mode == "update_only":
                counts["not_found"] += 1
                continue
            if wide(key) in by_service:
                counts["failed"] += 1
                continue
            counts["created"] += 1
            after[key] = dict.fromkeys(COLUMNS) | {"new_customerno": values["new_customerno"]} | wanted
        elif mode == "create_only":
            counts["existing"] += 1
        elif all(before[key][name] == value for name, value in wanted.items()) and (skip_unchanged or not wanted):
            counts["unchanged"] += 1
        else:
            counts["updated"] += 1
            after[key] |= wanted
    return after, {name: count for name, count in counts.items() if count}
