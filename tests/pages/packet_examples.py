"""Rollback packets as bundles hold them: of a release over a stable one, and of a first release."""

from __future__ import annotations

from contracts.rollback_packet import RollbackPacket
from operations.rollback_packet import Documents, make
from pages.rollback_packet import PacketView
from tests.pages import release_examples
from tests.pages.release_documents import name_of


def documents(*, first: bool = False) -> Documents:
    view = release_examples.first() if first else release_examples.rich()
    assert view.train is not None
    assert view.entry is not None
    assert view.score is not None
    assert view.safety is not None
    entry = view.entry.model_copy(update={"rollback_target": "none: first release" if first else name_of("bundle v1")})
    return Documents(view.train, entry, view.policy, view.score, view.safety)


def packet(*, first: bool = False) -> RollbackPacket:
    return make(documents(first=first))


def stable() -> PacketView:
    whole = release_examples.promoted()
    assert whole.evidence
    return PacketView(
        packet=packet(),
        bundle=name_of("bundle v2"),
        now="2026-11-21T02:07:00Z",
        place="stable",
        target_version="v1",
        evidence=whole.evidence.digest(),
        canary=whole.canary,
    )


def first_release() -> PacketView:
    return PacketView(
        packet=packet(first=True), bundle=name_of("bundle v1"), now="2026-11-21T02:07:00Z", place="not routed"
    )
