"""A rollback's target is whole, or the next one is taken and a person is paged (B3, fault 44)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.digest import Digest, short
from contracts.errors import Corrupt
from operations import pointer
from operations.rollback import rollback
from registry.bundle import load_manifest
from registry.resolver import NoTarget
from registry.store.keys import blob_key
from serving.presence import announce, withdraw
from tests.operations.gated_releases import FAMILY
from tests.operations.tiny_family import OPERATOR, TinyFamily


@pytest.fixture
def family(tmp_path: Path) -> Iterator[TinyFamily]:
    """v1, v2, v3 in this order; a gateway (this process) has proved all of them."""
    made = TinyFamily(tmp_path / "project")
    for version, word in (("v1", "one"), ("v2", "two"), ("v3", "six")):
        made.promote(version, word)
    proof = {"equal": 1, "expected": 1, "erased": 0, "at": "now"}
    said = {"version": 10**6, "bundles": [], "proved": dict.fromkeys(made.bundles.values(), proof)}
    announce(made.home, "http://127.0.0.1:9", {FAMILY: said})
    yield made
    withdraw(made.home)


def flip(family: TinyFamily, bundle: Digest, path: str) -> None:
    """Turn one bit of a file of a bundle, in the store."""
    blob = family.home / "store" / blob_key(load_manifest(family.context.store, bundle).files[path].sha256)
    content = bytearray(blob.read_bytes())
    content[0] ^= 1
    blob.chmod(0o600)
    blob.write_bytes(content)


def test_fault_44_a_corrupt_target_is_skipped_and_condemned_the_next_one_taken_and_a_person_paged(
    family: TinyFamily, caplog: pytest.LogCaptureFixture
) -> None:
    """Even where its warm workers were proved: what the store cannot give again is not gone back to."""
    broken = family.bundles["v2"]
    flip(family, broken, "payload/weights.safetensors")
    with caplog.at_level(logging.ERROR):
        done = rollback(family.context, FAMILY, key_name=OPERATOR, reason="v3 mishears")
    assert done.target == family.bundles["v1"] == pointer.current(family.context, FAMILY).stable
    ((skipped, why),) = done.skipped
    assert skipped == broken
    assert why.startswith("payload/weights.safetensors: corrupt (")
    assert family.context.ledger(FAMILY).state().condemned == {broken}
    paged = [record.message.partition(": payload")[0] for record in caplog.records]
    assert paged[0] == f"PAGE: {FAMILY}: bundle {short(broken)} is broken and was skipped"


def test_fault_44_a_corrupt_target_that_was_named_is_refused_and_the_others_are_offered(family: TinyFamily) -> None:
    flip(family, family.bundles["v2"], "payload/weights.safetensors")
    before = pointer.current(family.context, FAMILY)
    with pytest.raises(Corrupt) as refused:
        rollback(family.context, FAMILY, key_name=OPERATOR, reason="v3 mishears", to="v2")
    assert refused.value.what == f"cannot go back to v2 {short(family.bundles['v2'])}: it is broken"
    assert refused.value.next_step == "condemn it, then leave --to out for the newest that is whole"
    assert pointer.current(family.context, FAMILY) == before


def test_fault_44_where_every_target_is_corrupt_stable_goes_on(family: TinyFamily) -> None:
    for version in ("v1", "v2"):
        flip(family, family.bundles[version], "payload/weights.safetensors")
    with pytest.raises(NoTarget, match="there is no bundle to go back to"):
        rollback(family.context, FAMILY, key_name=OPERATOR, reason="v3 mishears")
    assert pointer.current(family.context, FAMILY).stable == family.bundles["v3"]
    assert family.context.ledger(FAMILY).state().condemned == {family.bundles["v1"], family.bundles["v2"]}
