"""What changed between two packs, and whether scores on both can be compared.

Boundary: pure; two loaded packs in.
Invariants: texts are shown only where both cards allow it; whatever changes the digest shows up somewhere, so a
difference without an entry does not exist; scores compare where the same people said the same words in the same audio.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from pydantic import JsonValue

from evalpacks.checks.support import Support, supports
from evalpacks.pack import OPTIONAL_COLUMNS, Pack
from evalpacks.slices import OVERALL, slice_names

if TYPE_CHECKING:
    import pandas as pd

Comparable = Literal["yes", "overall", "shared", "no"]
_NOTHING = Support(0, 0, 0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackDiff:
    """From pack `before` to pack `after`; ids are sorted.

    Attributes:
        digests: of both.
        added, removed: utterances that one of them has.
        changed: what changed (`audio`, `text`, `speaker`, `language`, `annotations`, a slice column) -> ids.
        texts: id -> text before and after, where both cards allow transcripts to be shown.
        slices: slice -> support before and after, where it changed.
        card: field of pack.yaml -> value before and after, where it changed.
        protected_added, protected_removed: slices that gates look at one by one.
        comparable: whether scores on both compare: `yes`, `overall` (slices do not), `shared` (on shared utterances
            only) or `no`.
        why: the same in a sentence.
    """

    digests: tuple[str, str]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: Mapping[str, tuple[str, ...]]
    texts: Mapping[str, tuple[str, str]]
    slices: Mapping[str, tuple[Support, Support]]
    card: Mapping[str, tuple[JsonValue, JsonValue]]
    protected_added: tuple[str, ...]
    protected_removed: tuple[str, ...]
    comparable: Comparable
    why: str

    @property
    def equal(self) -> bool:
        """Whether both are the same pack, also in what the digest leaves out (the language of an utterance)."""
        return self.digests[0] == self.digests[1] and not self.changed

    def as_json(self) -> dict[str, JsonValue]:
        """For programs: `soundcheck pack diff --json`."""
        pairs = {name: [cast("JsonValue", one._asdict()) for one in pair] for name, pair in self.slices.items()}
        return {
            "equal": self.equal,
            "digests": list(self.digests),
            "added": list(self.added),
            "removed": list(self.removed),
            "changed": {name: list(ids) for name, ids in self.changed.items()},
            "texts": {name: list(pair) for name, pair in self.texts.items()},
            "slices": {name: cast("JsonValue", pair) for name, pair in pairs.items()},
            "card": {field: list(pair) for field, pair in self.card.items()},
            "protected_added": list(self.protected_added),
            "protected_removed": list(self.protected_removed),
            "comparable": self.comparable,
            "why": self.why,
        }


def diff(before: Pack, after: Pack) -> PackDiff:
    """What changed."""
    old, new = (pack.utterances.set_index("utterance_id") for pack in (before, after))
    shared = old.index.intersection(new.index).sort_values()
    changed = _changed(old.loc[shared], new.loc[shared], [*before.slices, *after.slices])
    added = tuple(map(str, new.index.difference(old.index)))
    removed = tuple(map(str, old.index.difference(new.index)))
    shown = changed.get("text", ()) if before.meta.show_transcripts and after.meta.show_transcripts else ()
    card = _card(before, after)
    differing = {name for kind in ("audio", "text", "speaker") for name in changed.get(kind, ())}
    comparable, why = _comparability(
        changed=changed,
        card=card,
        moved=bool(added or removed),
        same=len(shared) - len(differing),
        sizes=(len(old), len(new)),
    )
    return PackDiff(
        digests=(before.digest, after.digest),
        added=added,
        removed=removed,
        changed=changed,
        texts={name: (str(old.at[name, "text"]), str(new.at[name, "text"])) for name in shown},
        slices=_supports(before, after),
        card=card,
        protected_added=tuple(name for name in after.protected if name not in before.protected),
        protected_removed=tuple(name for name in before.protected if name not in after.protected),
        comparable=comparable,
        why=why,
    )


def _changed(old: pd.DataFrame, new: pd.DataFrame, slices: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """What -> ids whose value is another one; both tables have the same index."""
    columns: dict[str, Sequence[str]] = {name: [name] for name in ("text", "speaker", "language", *slices)}
    columns |= {"audio": ["sha256"], "annotations": OPTIONAL_COLUMNS}
    found = {}
    for what, names in columns.items():
        different = _values(old, names) != _values(new, names)
        ids = tuple(str(name) for name in old.index[different.any(axis=1)])
        if ids:
            found[what] = ids
    return found


def _values(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Columns as text; one that is not there is empty."""
    asked = table.reindex(columns=list(columns)).astype(object)
    return asked.where(asked.notna(), "").map(str)


def _supports(before: Pack, after: Pack) -> dict[str, tuple[Support, Support]]:
    old, new = (
        supports(pack, [OVERALL, *slice_names(pack.utterances, pack.slices), *_crossed(pack)])
        for pack in (before, after)
    )
    pairs = {name: (old.get(name, _NOTHING), new.get(name, _NOTHING)) for name in {**old, **new}}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _crossed(pack: Pack) -> list[str]:
    return [name for name in (*pack.protected, *pack.high_risk) if "&" in name]


def _card(before: Pack, after: Pack) -> dict[str, tuple[JsonValue, JsonValue]]:
    old, new = before.meta.model_dump(mode="json"), after.meta.model_dump(mode="json")
    return {field: (old[field], new[field]) for field in old if old[field] != new[field]}


def _comparability(
    *,
    changed: Mapping[str, tuple[str, ...]],
    card: Mapping[str, object],
    moved: bool,
    same: int,
    sizes: tuple[int, int],
) -> tuple[Comparable, str]:
    """Whether scores compare, and why; `same` utterances are said by the same speaker in the same words and audio."""
    if not same:
        return "no", "scores do not compare: no utterance is the same in both"
    if moved or {"audio", "text", "speaker"} & set(changed):
        return (
            "shared",
            f"scores compare only on the {same} utterances that are the same in both (of {sizes[0]} and {sizes[1]})",
        )
    relabelled = sorted(set(changed) - {"annotations", "language"})
    if relabelled:
        return "overall", "overall scores compare, slices of these columns do not: " + ", ".join(relabelled)
    annotated = "annotations" in changed or "intents" in card
    return "yes", "scores compare" + (", but not of entities, intents and the end of speech" if annotated else "")
