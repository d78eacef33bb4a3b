"""The migration as Prefect shows it: both sides of every figure, and what stopped it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from contracts.migration import MigrationReport, RecallCount, ShimReport, Space, WayBack
from pages import approval, release
from pages.migration import markdown
from tests.pages import release_examples

REPORT = MigrationReport(
    family="speaker-embedding", plan="1" * 64, source=Space(name="ge2e-256", dimension=256),
    target=Space(name="ge2e-pca-64", dimension=64), source_bundle="2" * 64, target_bundle="3" * 64, source_count=1_096,
    target_count=1_095, source_recall=RecallCount(found=182, probes=384),
    target_recall=RecallCount(found=189, probes=384),
    shim=ShimReport(
        matrix="4" * 64, pairs=288, recall=RecallCount(found=48, probes=192), native=RecallCount(found=96, probes=192)
    ),
    margin=0.05, way_back=WayBack(missing=0, keep_old_index_days=30),
)  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        "| vector space | `ge2e-256`, 256 components | `ge2e-pca-64`, 64 components |",
        "| voiceprints | 1,096 | 1,095 |",
        "| recall@1 | 47.4% (182 of 384) | 49.2% (189 of 384) |",
        "recall@1 may fall by 5.0%.",
        "Shim, fitted on 288 pairs: old vectors find 25.0% (48 of 192) in the new index, "
        "vectors of the new space 50.0% (96 of 192).",
        "Going back (B4): the old index knows 1,095 of the 1,095 of the new one and finds 47.4% (182 of 384), counted "
        "after the new one was filled; it is kept, and written on, for at least 30 days.",
        "Both indexes are complete.",
    ],
)
def test_every_figure_stands_beside_what_it_is_compared_with(line: str) -> None:
    assert line in markdown(REPORT).splitlines()


def test_what_stopped_it_is_said_and_a_plan_without_a_shim_has_no_line_of_it() -> None:
    said = markdown(REPORT.model_copy(update={"faults": ("1 of 1,096 voiceprints are lost",), "shim": None}))
    assert "**Stopped**: 1 of 1,096 voiceprints are lost." in said
    assert "Shim" not in said
    assert "complete" not in said


def test_who_approves_reads_the_migration_in_the_form_and_on_the_page() -> None:
    view = replace(release_examples.promoted(), migration=REPORT)
    form, page = approval.markdown(view), release.render(view)
    assert "### Migration of voiceprints\n\n" + markdown(REPORT) in form
    assert form.index("### Canary") < form.index("### Migration") < form.index("### Risk")
    for said in ("189 of 384", "<h2>Migration of voiceprints</h2>", '<a href="#migration">', "for at least 30 days"):
        assert said in page


def test_a_release_that_moves_no_voiceprints_has_no_such_section() -> None:
    view = release_examples.promoted()
    assert "Migration" not in approval.markdown(view)
    assert "migration" not in release.render(view)
