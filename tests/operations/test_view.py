"""Documents gathered for people: what was stable when a release began."""

from __future__ import annotations

import pytest

from operations.view import _stable_before
from tests.operations.gated_releases import FAMILY
from tests.operations.tiny_family import TinyFamily


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> TinyFamily:
    """`v1` was stable, `v2` is."""
    made = TinyFamily(tmp_path_factory.mktemp("view") / "project")
    made.promote("v1", "one")
    made.promote("v2", "two")
    return made


@pytest.mark.parametrize(("version", "before"), [("v1", None), ("v2", "v1")])
def test_what_was_stable_before_a_release_is_known_without_its_scores(
    family: TinyFamily, version: str, before: str | None
) -> None:
    ledger = family.context.ledger(FAMILY)
    state = ledger.state()
    first = next(event for event in ledger.events() if event.data.get("version") == version)
    found = _stable_before(state, first)
    assert (state.packaged[found] if found else None) == before
