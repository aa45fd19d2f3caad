"""Train, dev and test for every shop: dev chooses, and test is only ever reported.

A judgments file may name a split per row. Where it names none, `split_of` parts the queries by a hash of their text:
eight in ten train, one dev, one test. Where a file names splits but lacks test or dev, the queries that the same hash
puts there are taken from the others, so that no figure that is reported was chosen by.
"""

from hashlib import sha1

from shelfbridge.catalogue import Judgments, Split, split_of

FEW = 20
"""Queries of dev below which most choices stay at their defaults, as so few seldom tell them apart."""


def with_all_splits(judgments: Judgments) -> tuple[Judgments, list[str]]:
    """Return judgments of which each split has a query, where there are enough, and what was done for it, in words."""
    split = {row.query.casefold(): row.split for row in judgments.rows}  # one query, whatever its case
    said = []
    for missing in ("dev", "test"):
        if missing not in split.values():
            moved = _moved(split, missing)
            split |= dict.fromkeys(moved, missing)
            said.append(
                f"no query is in split {missing!r}: {len(moved)} of {len(split)} queries were set apart for it by a "
                "hash of their text; name the splits in the file to choose them yourself"
                if moved
                else f"no query is in split {missing!r}, and there are too few to set one apart: judge more queries"
            )
    count = sum(one == "dev" for one in split.values())
    if 0 < count < FEW:
        queries = "1 query" if count == 1 else f"{count} queries"
        said.append(
            f"dev has {queries}: what so few cannot tell stays at its default (the fusion's order, no cross-encoder); "
            f"judge {FEW} or more to have it told"
        )
    rows = tuple(row.model_copy(update={"split": split[row.query.casefold()]}) for row in judgments.rows)
    return Judgments(rows, judgments.rejected), said


def _moved(split: dict[str, Split], missing: Split) -> list[str]:
    """The queries to take for a missing split: those of the hash, or one; never the last one of another split."""
    left = {one: list(split.values()).count(one) for one in set(split.values())}
    moved: list[str] = []
    for query in sorted(split, key=lambda one: (split_of(one) != missing, sha1(one.encode()).hexdigest())):
        if split_of(query) != missing and moved:
            break
        if left[split[query]] > 1:
            left[split[query]] -= 1
            moved.append(query)
    return moved
