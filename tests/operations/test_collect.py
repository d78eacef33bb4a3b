"""Garbage collection over what a real package step leaves: manifests, and the builder's envelopes that quote them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from operations.attest import ENVELOPES
from registry.garbage import collect
from tests.operations.gated_releases import FAMILY, open_installation
from tests.operations.packaged import Packaged


def test_a_signature_quotes_the_files_of_a_stopped_release_and_does_not_keep_them(tmp_path: Path) -> None:
    context = open_installation(tmp_path)
    packaged = Packaged(context, tmp_path / "one")
    context.ledger(FAMILY).append("stage", "fail", at=context.timestamp(), release=packaged.release)
    later = datetime.now(UTC) + timedelta(days=400)
    found = collect(
        context.store, [FAMILY], clock=lambda: later, grace_s=7 * 86_400, stopped_s=90 * 86_400, delete=True
    )
    weights = packaged.manifest.files["payload/weights.safetensors"].sha256
    assert (len(found.stopped), context.store.has_blob(weights)) == (1, False)
    assert all(context.store.has_blob(packaged.envelopes[role]) for role in ENVELOPES)
    assert all(context.store.has_blob(digest) for digest in (packaged.bundle, *packaged.inputs.values()))
