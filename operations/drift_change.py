"""What drift proposes for the packs, as files that are ready to be merged.

    HOME/drift/FAMILY/change/fixtures.yaml     utterances that a pack lacks, each slice with how many
    HOME/drift/FAMILY/change/pack.slice.yaml   slices for the card of a pack that there is
    HOME/drift/FAMILY/change/pack.yaml         the card of a pack of its own, where a tenth of traffic or more lacks one

Boundary: reads the card of the family's first pack; writes the folder above, and blobs of the same bytes.
Invariants: each file is held against the contract of the place it is for before anything is written; a file of an
earlier evaluation that is proposed no longer is removed; values of labels alone are in there, nothing anybody said.
Source: coverage 13; as operations/incident_change.py does for incidents.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import TypeAdapter, ValidationError

from contracts.drift import DriftSettings, ReadyFile, Uncovered
from contracts.incident import SafeSlice
from operations.context import Context
from operations.incident_check import card_of, check

MEASURED = ("rate", "duration")
"""Columns of a comparison that are measured of audio, and are no slices of a pack."""
SUPPORT = {"speakers": 10, "words": 150}
"""What a new protected slice needs, as after an incident."""
RIGHTS = "to be stated by whoever records it, before it is used"
SOURCE = "consented or synthetic audio of this slice; never a user's"


class Proposed(NamedTuple):
    """What a file is proposed for."""

    family: str


class Change(NamedTuple):
    """A file that is ready: its document's part, and its text."""

    ready: ReadyFile
    text: str


def propose(context: Context, family: str, lacking: Sequence[Uncovered], settings: DriftSettings) -> list[Change]:
    """The files for what packs lack, valid and stored as blobs; [] where they lack nothing that can be named.

    Raises WrongCall where one does not fit its place: the card of the pack is wrong then.
    """
    from monitoring.drift.coverage import needs_pack

    named = [one for one in lacking if _is_slice(_slice_of(one))]
    if not named:
        return []
    sliced = [one for one in named if one.column not in MEASURED]
    files: dict[str, tuple[str, dict[str, Any]]] = {"fixtures.yaml": _fixtures(named, settings)}
    if small := [one for one in sliced if not needs_pack([one])]:
        files["pack.slice.yaml"] = _slices(small)
    if large := [one for one in named if needs_pack([one])]:
        files["pack.yaml"] = _card(context, family, large)
    return [_change(context, family, name, place, value) for name, (place, value) in files.items()]


def write(folder: Path, changes: Sequence[Change]) -> None:
    """Make the folder hold these files and no other."""
    names = {change.ready.name for change in changes}
    for path in folder.glob("*.yaml"):
        if path.name not in names:
            path.unlink()
    for change in changes:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / change.ready.name).write_text(change.text, encoding="utf-8")


def _slice_of(one: Uncovered) -> str:
    return f"{one.column}={one.value}"


def _is_slice(name: str) -> bool:
    try:
        TypeAdapter(SafeSlice).validate_python(name)
    except ValidationError:
        return False
    return True


def _change(context: Context, family: str, name: str, place: str, value: dict[str, Any]) -> Change:
    head = f"# what drift proposes for {family}\n# belongs into {place}\n"
    text = head + yaml.safe_dump(value, sort_keys=False, allow_unicode=False, width=110)
    check(context, Proposed(family), name, text)
    return Change(ReadyFile(name=name, place=place, change=context.store.put_blob(text.encode())), text)


def _fixtures(lacking: Sequence[Uncovered], settings: DriftSettings) -> tuple[str, dict[str, Any]]:
    orders = [
        {
            "slice": _slice_of(one), "metric": "any", "count": settings.min_pack_utterances - one.pack_utterances,
            "source": SOURCE, "expected": "what is said, written down by a person",
        }
        for one in lacking
    ]  # fmt: skip
    place = "the eval pack that is to have them (utterances.parquet and audio/)"
    return place, {"fixtures": orders, "differ_between_bundles": None, "of": None}


def _slices(lacking: Sequence[Uncovered]) -> tuple[str, dict[str, Any]]:
    lists = {
        "slices": list(dict.fromkeys(one.column for one in lacking)),
        "protected": [_slice_of(one) for one in lacking],
        "min_support": SUPPORT,
    }
    return "pack.yaml of the family's first eval pack, added to its lists", lists


def _card(context: Context, family: str, lacking: Sequence[Uncovered]) -> tuple[str, dict[str, Any]]:
    """The card of one pack for all that is large; its languages and rates are those that it is made for."""
    known = card_of(context, family)
    by_column: dict[str, list[str]] = {}
    for one in lacking:
        by_column.setdefault(one.column, []).append(one.value)
    columns = [column for column in by_column if column not in MEASURED]
    name = re.sub(r"[^a-z0-9]+", "-", f"{family}-{'-'.join(_slice_of(one) for one in lacking[:2])}").strip("-")
    card = {
        "name": name,
        "title": f"What users of {family} ask that no pack has: {', '.join(map(_slice_of, lacking))}",
        "source": SOURCE, "licence": RIGHTS, "consent": RIGHTS,
        "languages": by_column.get("language", known["languages"]),
        "sample_rate_hz": [int(rate) for rate in by_column.get("rate", [])] or known["sample_rate_hz"],
        "slices": columns,
        "protected": [_slice_of(one) for one in lacking if one.column in columns],
        "min_support": SUPPORT,
    }  # fmt: skip
    return f"data/packs/{name}/pack.yaml, and {name} into a gate of families.{family}.quality in params.yaml", card
