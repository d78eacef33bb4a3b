"""Errors by class: how many of each kind, stable against candidate, slice by slice; counts, never text.

Boundary: no I/O, no markup: places are percentages of a plot's width.
Invariants: a slice without reference words has no bar (U2); every bar of one pack stands on one axis; confusions are
shown only where the report has them (packs whose consent lets transcripts be shown).
Source: pages.md (Release report); statistics U2, U3.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from contracts.reports import Confusion, EditClasses, ScoreReport, WordCounts
from pages.figures import Scale, many, plain, scale, slice_name
from pages.plots.axis import Axis, axis

_FEW = 12
_WER = scale("wer")


class Piece(NamedTuple):
    """A piece of a stacked bar: which class, where it begins and how wide it is, in percent."""

    kind: str
    x: float
    width: float


class ErrorClass(NamedTuple):
    """One class of errors of one slice; stable's fields are "" and None where stable was not run."""

    kind: str
    label: str
    per: str
    rate: str
    errors: str
    width: float
    stable_rate: str
    stable_errors: str
    stable_width: float | None


class ErrorSlice(NamedTuple):
    """One slice: its stacked bars, its rates, and its classes one by one."""

    name: str
    exact: str
    words: str
    rate: str
    stable_rate: str
    difference: str
    parts: tuple[Piece, ...]
    stable_parts: tuple[Piece, ...]
    classes: tuple[ErrorClass, ...]
    title: str


class ErrorPack(NamedTuple):
    """One pack: its slices, overall first and then the highest rate; `more` have fewer errors."""

    pack: str
    axis: Axis
    shown: tuple[ErrorSlice, ...]
    more: tuple[ErrorSlice, ...]
    confusions: tuple[Confusion, ...]


class _Arm(NamedTuple):
    """The errors of one arm on one slice."""

    words: int
    classes: EditClasses

    def rate(self) -> float:
        """Errors a reference word."""
        return (self.classes.substitutions + self.classes.deletions + self.classes.insertions) / self.words


def error_packs(score: ScoreReport) -> tuple[ErrorPack, ...]:
    """The slices of each pack, in the order of the report."""
    candidate, stable = _arms(score.words, score.classes), _arms(score.stable_words, score.stable_classes)
    packs: dict[str, list[str]] = {}
    for name in candidate:
        packs.setdefault(_pack(name), []).append(name)
    return tuple(
        _error_pack(pack, {name: candidate[name] for name in names}, stable, score.confusions.get(pack, ()))
        for pack, names in packs.items()
    )


def _pack(name: str) -> str:
    """Reports name a slice `PACK/SLICE`."""
    return name.partition("/")[0]


def _slice(name: str) -> str:
    return name.partition("/")[2]


def _arms(words: Mapping[str, WordCounts], classes: Mapping[str, EditClasses]) -> dict[str, _Arm]:
    """Both arms' errors by name; a report without classes still has those that word counts give."""
    return {
        name: _Arm(one.reference_words, classes.get(name) or _classes(one))
        for name, one in words.items()
        if one.reference_words
    }


def _classes(one: WordCounts) -> EditClasses:
    return EditClasses(substitutions=one.substitutions, deletions=one.deletions, insertions=one.insertions)


def _error_pack(
    pack: str, candidate: Mapping[str, _Arm], stable: Mapping[str, _Arm], confusions: tuple[Confusion, ...]
) -> ErrorPack:
    ordered = sorted(candidate, key=lambda name: (_slice(name) != "overall", -candidate[name].rate(), name))
    before = [stable[name] for name in candidate if name in stable]
    drawn = axis([one.rate() for one in (*candidate.values(), *before)], _WER, signed=False)
    slices = [_error_slice(_slice(name), candidate[name], stable.get(name), drawn) for name in ordered]
    few = len(slices) if len(slices) <= _FEW + 3 else _FEW
    return ErrorPack(plain(pack), drawn, tuple(slices[:few]), tuple(slices[few:]), confusions)


def _error_slice(name: str, one: _Arm, before: _Arm | None, drawn: Axis) -> ErrorSlice:
    rate, stable_rate = _WER.value(one.rate()), _WER.value(before.rate()) if before else ""
    counts = f"{one.classes.substitutions:,} substitutions, {one.classes.deletions:,} deletions"
    counts += f", {one.classes.insertions:,} insertions in {one.words:,} words"
    was = f"; stable {stable_rate}" if before else ""
    return ErrorSlice(
        name=slice_name(name),
        exact=plain(name),
        words=many(one.words, "word"),
        rate=rate,
        stable_rate=stable_rate,
        difference=_WER.difference(one.rate() - before.rate()) if before else "",
        parts=_parts(one, drawn),
        stable_parts=_parts(before, drawn) if before else (),
        classes=_error_classes(one, before),
        title=f"{slice_name(name)}: {rate} ({counts}){was}",
    )


def _parts(one: _Arm, drawn: Axis) -> tuple[Piece, ...]:
    parts, done = [], 0
    for kind in ("substitutions", "deletions", "insertions"):
        count = getattr(one.classes, kind)
        start, end = drawn.at(done / one.words), drawn.at((done + count) / one.words)
        parts.append(Piece(kind, start, round(end - start, 3)))
        done += count
    return tuple(parts)


class _Kind(NamedTuple):
    name: str
    label: str
    per: str

    def of(self, arm: _Arm | None) -> tuple[int, int] | None:
        """Errors of this class and what they are counted over; None where the pack cannot say."""
        count = getattr(arm.classes, self.name) if arm else None
        if arm is None or count is None:
            return None
        over = arm.classes.entity_words if self.name == "entity" else arm.words
        return (count, over) if over else None


_KINDS = (
    _Kind("substitutions", "substitutions", "reference word"),
    _Kind("deletions", "deletions", "reference word"),
    _Kind("insertions", "insertions", "reference word"),
    _Kind("short", "in utterances of 1 or 2 words", "reference word"),
    _Kind("entity", "entity words not heard", "entity word"),
)


def _error_classes(one: _Arm, before: _Arm | None) -> tuple[ErrorClass, ...]:
    found = [(kind, kind.of(one), kind.of(before)) for kind in _KINDS]
    rates = [count / over for _, *arms in found for pair in arms if pair for count, over in [pair]]
    top = max(rates, default=0.0) or 1.0
    return tuple(_error_class(kind, now, was, top, _WER) for kind, now, was in found if now)


def _error_class(
    kind: _Kind, now: tuple[int, int], was: tuple[int, int] | None, top: float, label: Scale
) -> ErrorClass:
    rate = now[0] / now[1]
    before = was[0] / was[1] if was else None
    return ErrorClass(
        kind=kind.name,
        label=kind.label,
        per=kind.per,
        rate=label.value(rate),
        errors=f"{now[0]:,}",
        width=round(100 * rate / top, 3),
        stable_rate="" if before is None else label.value(before),
        stable_errors=f"{was[0]:,}" if was else "",
        stable_width=None if before is None else round(100 * before / top, 3),
    )
