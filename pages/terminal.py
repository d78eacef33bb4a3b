"""Plain text for a terminal: the end of a release, and where a family stands.

Boundary: no I/O, no colour (the caller may add it); its own signs are ASCII, so that every terminal and log shows them.
Invariants: no line is wider than `width` unless one word or one command is (a command copies whole); control
characters of documents never reach a terminal.
Source: pages.md ("Terminal, end of a release").
"""

from __future__ import annotations

import textwrap

from contracts.digest import Digest, short
from pages.figures import duration, many, moment, plain
from pages.reading import NOT_REACHED, Row, bundle_row, exchange, headline, policy_changes, rows, waived
from pages.stops import stop_of
from pages.view import HistoryRow, ReleaseView, StatusView

_LABEL = 13
_GAP = "   "
_EXCHANGED = 3
_SEEN = {"prefect": "Prefect", "mlflow": "MLflow"}


def release_summary(view: ReleaseView, *, width: int = 120) -> str:
    """The end of a release: verdict first, then reasons, then numbers. No trailing newline."""
    lines = _header(view, width)
    if view.outcome != "promoted":
        for label, text in stop_of(view).answers():
            lines += _wrapped(f"  {label:<{_LABEL}}", [text], width)
        lines.append("")
    judged = rows(view)
    word_width = max([len(row.word) for row in judged])
    reached = [row for row in judged if row.parts != (NOT_REACHED,)]
    for row in reached:
        lines += _row(row, word_width, width)
    if missing := [row.label for row in judged if row not in reached]:
        lines += _wrapped(f"  {'not reached':<{_LABEL}}", [", ".join(missing)], width)
    lines += _beside(view, width)
    if view.bundle:
        lines += _row(bundle_row(view), word_width, width)
    if links := [f"{_SEEN.get(name, plain(name))} {plain(address)}" for name, address in view.links.items()]:
        lines += _wrapped(f"  {'see':<{_LABEL}}", links, width)
    return "\n".join(lines)


def _header(view: ReleaseView, width: int) -> list[str]:
    took = duration(view.took_s)
    name = f"{plain(view.family)} {plain(view.version)}  ->  "
    first, *rest = textwrap.wrap(headline(view), max(width - len(name), 30), break_long_words=False) or [""]
    line = name + first
    if not took:
        return [line, *(" " * len(name) + text for text in rest)]
    if not rest and len(line) + len(_GAP) + len(took) <= width:
        return [line + took.rjust(width - len(line))]
    return [line, *(" " * len(name) + text for text in rest), " " * len(name) + took]


def _beside(view: ReleaseView, width: int) -> list[str]:
    """What stands beside the verdicts: waivers, what the release costs and saves, a policy that has changed."""
    accepted = [f"{one.what}, by {one.who}: {one.reason}" if one.who else one.reason for one in waived(view)]
    lines = [line for text in accepted for line in _wrapped(f"  {'waived':<{_LABEL}}", [text], width)]
    for number, sentence in enumerate(exchange(view, _EXCHANGED)):
        lines += _wrapped(f"  {'' if number else 'exchange':<{_LABEL}}", [sentence], width)
    if changes := policy_changes(view):
        lines += _wrapped(f"  {'policy':<{_LABEL}}", [f"{many(len(changes), 'change')} since the last release"], width)
    return lines


def _row(row: Row, word_width: int, width: int) -> list[str]:
    verdict = f"{row.word:<{word_width}}  " if row.word or row.value else ""
    return _wrapped(f"  {row.label:<{_LABEL}}{verdict}", list(row.parts), width)


def _wrapped(prefix: str, parts: list[str], width: int) -> list[str]:
    """Parts side by side while they fit, then on lines of their own under the first; long ones at their words."""
    room = max(width - len(prefix), 20)
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(_GAP) + len(part) <= room:
            lines[-1] += _GAP + part
        elif len(part) <= room or part.startswith("soundcheck "):
            lines.append(part)
        else:
            lines += textwrap.wrap(part, room, break_long_words=False, break_on_hyphens=False)
    return [(prefix if number == 0 else " " * len(prefix)) + line for number, line in enumerate(lines)]


def status(view: StatusView, *, width: int = 120) -> str:
    """Where a family stands: who serves, what was stable before, when it is due for review. No trailing newline."""
    lines = [plain(view.family)]
    lines += _state("stable", _named(view.stable) or "none: nothing was promoted yet", width)
    lines += _state("canary", _named(view.canary) or "none", width)
    lines += _state("warm", ", ".join(_named(one) for one in view.warm) or "none", width)
    for sentence in view.served:
        lines += _state("served", plain(sentence), width)
    if view.review_date:
        lines += _state("review due", plain(view.review_date), width)
    if view.frozen:
        lines += _state(
            "frozen", f"{plain(view.frozen)}; lift it with: soundcheck unfreeze {plain(view.family)}", width
        )
    if view.history:
        lines += ["", "  history, newest last"]
        lines += _history(view.history)
    lines += ["", *_agreement(view, width)]
    return "\n".join(lines)


def _named(pair: tuple[str, Digest] | None) -> str:
    return f"{plain(pair[0])} {short(pair[1])}" if pair else ""


def _state(label: str, text: str, width: int) -> list[str]:
    return _wrapped(f"  {label:<{_LABEL}}", [text], width)


def _history(history: tuple[HistoryRow, ...]) -> list[str]:
    version_width = max(len(plain(row.version)) for row in history)
    kind_width = max(len(plain(row.kind)) for row in history)
    return [
        f"    {moment(row.at)}  {plain(row.kind):<{kind_width}}  {plain(row.version):<{version_width}}"
        f"  {short(row.digest)}  by {plain(row.actor)}"
        for row in history
    ]


def _agreement(view: StatusView, width: int) -> list[str]:
    if not view.differences:
        return ["  ledger, pointer and mirror agree"]
    verb = "disagrees" if len(view.differences) == 1 else "disagree"
    lines = [f"  {len(view.differences)} of the ledger's views {verb} with it; the ledger is right"]
    for sentence in view.differences:
        lines += _wrapped("    - ", [sentence], width)
    return lines
