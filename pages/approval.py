"""What an approver reads above the form: one line of verdict, slices worst first, canary, risk, rollback, evidence.

Boundary: no I/O; Markdown out, for Prefect's form and artifacts.
Invariants: what was not reached or not settled is named under "Risk"; the evidence digest stands whole, because it is
what is signed (R8.1).
Source: pages.md ("Approval form"); release-algorithm R4.6, R4.7, R8.
"""

from __future__ import annotations

from contracts.digest import short
from contracts.reports import Comparison
from contracts.verdict import Value
from pages import migration
from pages.comparing import beyond_limit, change, compared_on, difference, held_to, marks, worst_first
from pages.figures import clock, duration, many, plain, slice_name
from pages.incident import left_behind
from pages.markdown import bullets, code, table, text, verdict
from pages.reading import approve_line, exchange, policy_changes, rows, target, unwaived, waived
from pages.view import ReleaseView

SHOWN = 10
"""Slices that the form lists; every one that does not pass, and the overall rate, are listed in any case."""


def markdown(view: ReleaseView) -> str:
    """The approval form's text. Missing documents are named as risk, never left out."""
    lines = [verdict_line(view), ""]
    lines += ["### Slices, worst first (◆ protected)", "", *slice_tables(view)]
    if accepted := waiver_lines(view):
        lines += ["### Waived by name", "", *accepted]
    if said := exchange(view, SHOWN):
        lines += ["### Cost against quality", "", *bullets(map(text, said))]
    lines += ["### Canary", "", *canary_lines(view)]
    if view.migration:
        lines += ["### Migration of voiceprints", "", *migration.markdown(view.migration).splitlines(), ""]
    lines += ["### Risk: what the evidence does not cover", "", *bullets(risks(view))]
    lines += ["### Rollback", "", *rollback_lines(view)]
    if changes := policy_changes(view):
        lines += ["### The policy has changed", "", *bullets(text(sentence) for sentence in changes)]
    if view.incidents:
        lines += ["### What incidents left behind", "", *bullets(text(left_behind(one)) for one in view.incidents)]
    lines += ["### Decide", "", *decision_lines(view)]
    return "\n".join(lines).rstrip() + "\n"


def verdict_line(view: ReleaseView) -> str:
    """`**PASS** asr-commands v2: quality PASS, serving PASS, ...`"""
    judged = rows(view)
    words = ", ".join(f"{row.label} {row.word or 'NOT REACHED'}" for row in judged)
    missing = any(row.value is None for row in judged)
    known = [row.value for row in judged if row.value] + [Value.INCONCLUSIVE] * missing
    overall = max(known, key=lambda value: value.severity)
    instead = f"instead of {text(view.stable_version)}" if view.stable_version else "as the first stable"
    return f"**{verdict(overall)}** {text(view.family)} **{text(view.version)}** {instead}: {words}"


def slice_tables(view: ReleaseView) -> list[str]:
    """verdict | slice | rate | difference [interval], worst first, a table a metric; what it is held to above it.

    Prefect draws the form 470 pixels wide and hides what does not fit, so the columns that decide come first; metrics
    that pass everywhere share one table.
    """
    if view.score is None or not view.score.comparisons:
        return ["Not reached: nothing was compared.", ""]
    groups: dict[str, list[Comparison]] = {}
    for one in worst_first(view.score.comparisons):
        groups.setdefault(compared_on(one), []).append(one)
    (first, *rest) = groups.items()
    open_ones = [pair for pair in rest if any(one.verdict.value is not Value.PASS for one in pair[1])]
    passing = sorted(
        (pair for pair in rest if pair not in open_ones),
        key=lambda pair: (pair[1][0].metric != "wer", pair[1][0].baseline == "parent"),
    )
    lines = [line for title, group in (first, *open_ones) for line in _table(title, group, alone=not rest)]
    return [*lines, *_passing_table(passing)]


def _table(title: str, group: list[Comparison], *, alone: bool) -> list[str]:
    unsettled = sum(one.verdict.value is not Value.PASS for one in group)
    count = max(SHOWN, unsettled)
    shown = group[:count] + [one for one in group[count:] if one.slice == "overall"]
    better = ", higher is better" if group[0].better == "higher" else ""
    heading = [] if alone else [f"**{text(title)}**{better}", ""]
    held = bullets(f"held to {text(sentence)}" for sentence in held_to(group))
    lines = [*heading, *held, *table(_COLUMNS, map(_slice_row, shown), right=(2,))]
    if len(shown) < len(group):
        lines += [f"{many(len(group) - len(shown), 'more slice')} PASS; the release report has them.", ""]
    return lines


def _passing_table(groups: list[tuple[str, list[Comparison]]]) -> list[str]:
    """One row a metric that passes everywhere: its overall rate, or its worst slice where it has none."""
    rows = []
    for title, group in groups:
        one = next((one for one in group if one.slice == "overall"), group[0])
        where = "" if one.slice == "overall" else f", worst {slice_name(one.slice)}"
        more = f" ({many(len(group), 'slice')})" if len(group) > 1 else ""
        rows.append((text(f"{title}{where}{more}"), change(one), _difference(one)))
    heading = ["**Metrics that pass on every slice**", ""] if rows else []
    return [*heading, *table(("metric", "rate", "difference"), rows, right=(1,))]


_COLUMNS = ("verdict", "slice", "rate", "difference")


def _difference(one: Comparison) -> str:
    return difference(one).replace("[", "\\[") or "none"


def _slice_row(one: Comparison) -> tuple[str, ...]:
    marked = "".join(f" **{mark}**" for mark in (*marks(one), beyond_limit(one)) if mark and mark != "protected")
    name = ("◆\u00a0" if one.protected else "") + text(slice_name(one.slice))
    return verdict(one.verdict.value), name + marked, change(one), _difference(one)


def waiver_lines(view: ReleaseView) -> list[str]:
    """What was accepted by name, by whom and why (R4.2)."""
    return bullets(
        f"{text(one.what)}, by {text(one.who or 'a person')}: {text(one.reason)}; waiver {code(short(one.digest))}"
        for one in waived(view)
    )


def canary_lines(view: ReleaseView) -> list[str]:
    """One row a stage; the reasons of what was not a promotion."""
    if view.canary is None:
        return ["Not reached.", ""]
    header = ("stage", "decision", "stable sessions", "canary sessions", "took")
    stages = (
        (
            stage.stage,
            stage.decision.replace("_", " "),
            f"{stage.stable_sessions:,}",
            f"{stage.canary_sessions:,}",
            duration(stage.duration_s),
        )
        for stage in view.canary.stages
    )
    reasons = [f"{stage.stage}: {text(reason)}" for stage in view.canary.stages for reason in stage.reasons]
    return [*(table(header, stages, right=(2, 3, 4)) or ["No stage was run.", ""]), *bullets(reasons)]


def risks(view: ReleaseView) -> list[str]:
    """What nobody should believe to be shown: missing documents, open verdicts, high-risk slices, provenance."""
    missing = [
        name
        for name, document in (
            ("quality", view.score),
            ("serving", view.timing),
            ("safety", view.safety),
            ("staged replay", view.replay),
            ("canary", view.canary),
        )
        if document is None
    ]
    found = [f"**{name}** was not reached" for name in missing]
    if view.score:
        left = unwaived(view)
        for one in worst_first(view.score.comparisons):
            if one.verdict.value is not Value.PASS:
                reasons = "; ".join(one.verdict.reasons) or "no reason was given"
                accepted = "" if one in left else ", waived"
                found.append(f"{code(one.slice)} {verdict(one.verdict.value)}{accepted}: {text(reasons)}")
            if one.unit == "utterance":
                found.append(
                    f"{code(one.slice)} speaks for its {many(one.speakers, 'speaker')} alone: too few for more"
                )
    if view.gate:
        found += [f"manual review is mandatory for {code(name)}" for name in view.gate.manual_review]
    if view.train and not view.train.leakage.startswith("none"):
        found.append(f"training data leakage: {text(view.train.leakage)}")
    found += [f"{text(one.check)} is waived by {text(one.owner)}: {text(one.reason)}" for one in view.policy.waivers]
    if view.policy.approvals.mode == "ui":
        found.append("decisions of this form are **unsigned** (`approvals.mode: ui`): a typed name proves nothing")
    return found or ["nothing is known to be missing"]


def rollback_lines(view: ReleaseView) -> list[str]:
    """Target, rehearsed time, command."""
    if view.stable_bundle is None:
        return ["None: this is the first release; taking it back leaves nobody served.", ""]
    rehearsed = duration(view.replay.rehearsal_s) if view.replay and view.replay.rehearsal_s is not None else ""
    return bullets(
        [
            f"target {text(view.stable_version or 'version unknown')} {code(short(view.stable_bundle))}",
            f"rehearsed in {rehearsed}" if rehearsed else "**not rehearsed**",
            f"command {code(f'soundcheck rollback {plain(view.family)} --key KEY --reason TEXT')}",
        ]
    )


def decision_lines(view: ReleaseView) -> list[str]:
    """What is decided about, and the same decision from a terminal."""
    if view.evidence is None:
        return ["There is no evidence to decide about yet.", ""]
    bundle = f"bundle {code(short(view.bundle))}" if view.bundle else "no bundle"
    return [
        f"{bundle}, evidence {code(short(view.evidence.digest()))} (whole below), written {text(clock(view.now))}, "
        f"rollback target {text(target(view))}.",
        "",
        "`promote` moves all traffic to it, `hold` asks again later, `reject` is final for this evidence.",
        "The same from a terminal, signed:",
        "",
        "```",
        approve_line(view),
        "```",
        "",
    ]
