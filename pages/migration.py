"""A migration of voiceprints as Prefect shows it.

Boundary: pure; a report in, markdown out.
Invariants: every figure stands beside what it is compared with.
"""

from __future__ import annotations

from contracts.digest import short
from contracts.migration import MigrationReport, RecallCount, WayBack
from pages.figures import many


def markdown(report: MigrationReport) -> str:
    """The indexes, the shim, and what is wrong."""
    rows = [
        (
            "vector space",
            *(f"`{space.name}`, {space.dimension} components" for space in (report.source, report.target)),
        ),
        ("written by bundle", *(f"`{short(bundle)}`" for bundle in (report.source_bundle, report.target_bundle))),
        ("voiceprints", f"{report.source_count:,}", f"{report.target_count:,}"),
        ("recall@1", _recall(report.source_recall), _recall(report.target_recall)),
    ]
    table = ["| | old index | new index |", "|---|---|---|"]
    table += [f"| {name} | {old} | {new} |" for name, old, new in rows]
    lines = [f"recall@1 may fall by {report.margin:.1%}."]
    if report.shim:
        lines.append(
            f"Shim, fitted on {report.shim.pairs:,} pairs: old vectors find {_recall(report.shim.recall)} in the new "
            f"index, vectors of the new space {_recall(report.shim.native)}."
        )
    lines += [_returning(report, report.way_back)] if report.way_back else []
    lines += [f"**Stopped**: {fault}." for fault in report.faults] or ["Both indexes are complete."]
    return "\n".join(table) + "\n\n" + "\n\n".join(lines) + "\n"


def _returning(report: MigrationReport, back: WayBack) -> str:
    known = report.target_count - back.missing
    return (
        f"Going back (B4): the old index knows {known:,} of the {report.target_count:,} of the new one and finds "
        f"{_recall(report.source_recall)}, counted after the new one was filled; it is kept, and written on, "
        f"for at least {many(back.keep_old_index_days, 'day')}."
    )


def _recall(count: RecallCount) -> str:
    return f"{count.rate:.1%} ({count.found:,} of {count.probes:,})"
