"""What the pack commands print: tables and sentences for a terminal.

Boundary: no I/O; reports in, lines out.
Invariants: a line holds names and figures, never what was said, but for texts that both cards of a diff allow; control
characters of a pack never reach the terminal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pages.figures import plain

if TYPE_CHECKING:
    from evalpacks.checks.findings import Finding
    from evalpacks.checks.support import Power, Support
    from evalpacks.pack import Pack
    from evalpacks.pack_check import PackReport
    from evalpacks.pack_diff import PackDiff
    from evalpacks.pack_new import Made

_SHOWN = 5


def columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table: the first column to the left, the others to the right; empty cells at a line's end are not drawn."""
    table = [header, *([plain(cell) for cell in row] for row in rows)]
    widths = [max(len(row[place]) for row in table) for place in range(len(header))]
    for row in table:
        first, *rest = (
            f"{cell:<{width}}" if place == 0 else f"{cell:>{width}}"
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(["  " + first, *rest]).rstrip()


def card(pack: Pack) -> Iterator[str]:
    """The pack in two lines: its name, digest and size; its rights."""
    meta = pack.meta
    yield f"{pack.name} {pack.digest[:12]}: {plain(meta.title)}"
    rates = ", ".join(map(str, meta.sample_rate_hz))
    yield f"  {plain(', '.join(meta.languages))}, {rates} Hz, licence {plain(meta.licence)}"


def contents(pack: Pack) -> Iterator[str]:
    """`pack show`: what each slice holds, and which are protected (P) or high-risk (H)."""
    from evalpacks.checks.support import guarded, supports
    from evalpacks.slices import OVERALL, slice_names

    crossed = [name for name in guarded(pack) if "&" in name]
    names = [OVERALL, *slice_names(pack.utterances, pack.slices), *crossed]
    rows = [
        [name, *_support(held), _marks(pack, name)] for name, held in supports(pack, list(dict.fromkeys(names))).items()
    ]
    yield from card(pack)
    yield ""
    yield from columns(["slice", "utterances", "speakers", "words", "minutes", ""], rows)
    if pack.protected or pack.high_risk:
        yield "  P: protected, H: high-risk"


def _support(held: Support) -> list[str]:
    return [f"{held.utterances:,}", f"{held.speakers:,}", f"{held.words:,}", f"{held.minutes:.1f}"]


def _marks(pack: Pack, name: str) -> str:
    return ("P" if name in pack.protected else "") + ("H" if name in pack.high_risk else "")


def taken(made: Made) -> Iterator[str]:
    """`pack new`: what was taken over, and what was not."""
    yield f"{made.pack.name}: {_many(len(made.pack.utterances), 'recording')} copied to {made.pack.root}"
    if made.decoded:
        yield f"  {made.decoded} of them decoded from FLAC, without loss"
    if made.unnamed:
        unnamed = _many(len(made.unnamed), "recording")
        yield f"  not taken: {unnamed} that the table does not name ({_first(made.unnamed)})"
    if made.unused:
        yield f"  not taken: columns {', '.join(made.unused)}; name them with --slices to slice by them"


def report(found: PackReport) -> Iterator[str]:
    """`pack check`: the verdict, what was found, and what each protected slice can show."""
    from evalpacks.pack_check import POWER
    from evalpacks.statistics.power import Assumptions

    errors, warnings = found.count("error"), found.count("warning")
    yield from card(found.pack)
    yield (
        f"  {_many(errors, 'error')}, {_many(warnings, 'warning')}; normaliser {', '.join(found.normalizers)}; "
        f"compared with {_training(found.manifests)}"
    )
    if found.findings:
        yield ""
    for one in found.findings:
        yield from _finding(one)
    yield ""
    yield (
        f"what it can show, from a WER of {Assumptions().rate:.0%}: the rise that fails in {POWER:.0%} of runs among "
        f"{found.comparisons} slices judged together, and what is missing to find {_points(found.effect)}"
    )
    rows = [[name, *_support(held), *_power(found.powers[name])] for name, held in found.supports.items()]
    header = ["slice", "utterances", "speakers", "words", "minutes", "finds", f"for {_points(found.effect)}"]
    yield from columns(header, rows)


def _finding(one: Finding) -> Iterator[str]:
    from evalpacks.checks.findings import RULES

    yield f"  {one.severity:<7}  {one.code}: {plain(one.message)}"
    yield f"           next step: {RULES[one.code].next_step}"


def _power(power: Power) -> list[str]:
    finds = "-" if power.effect is None else _points(power.effect)
    return [finds, f"{power.more_speakers:,} more speakers" if power.more_speakers else "enough"]


def _points(effect: float) -> str:
    return f"{100 * effect:+.1f} points"


def _training(manifests: Sequence[str]) -> str:
    return "no training data" if not manifests else "training data of " + ", ".join(manifests)


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def difference(found: PackDiff, names: tuple[str, str]) -> Iterator[str]:
    """`pack diff`: whether scores compare, then what changed."""
    yield f"{names[0]} {found.digests[0][:12]} -> {names[1]} {found.digests[1][:12]}"
    if found.equal:
        yield "  the same pack"
        return
    yield f"  {found.why}"
    changed = {f"{what} changed": ids for what, ids in found.changed.items()}
    for what, ids in {"added": found.added, "removed": found.removed, **changed}.items():
        if ids:
            yield f"  {what}: {_many(len(ids), 'utterance')} ({_first(ids)})"
    for name, (before, after) in found.texts.items():
        yield f"    {plain(name)}: {before!r} -> {after!r}"
    for what, slices in (("protected now", found.protected_added), ("no longer protected", found.protected_removed)):
        if slices:
            yield f"  {what}: {_first(slices)}"
    for field, (old, new) in found.card.items():
        if field != "protected":
            yield f"  pack.yaml {field}: {_short(old)} -> {_short(new)}"
    if found.slices:
        yield ""
        rows = [[name, *map(_change, *map(_support, pair))] for name, pair in found.slices.items()]
        yield from columns(["slice", "utterances", "speakers", "words", "minutes"], rows)


def _change(before: str, after: str) -> str:
    return after if before == after else f"{before} -> {after}"


def _first(names: Sequence[str]) -> str:
    return plain(", ".join(names[:_SHOWN])) + (", ..." if len(names) > _SHOWN else "")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
