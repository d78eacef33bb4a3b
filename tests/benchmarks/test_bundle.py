"""The bundle benchmark on few bytes: every figure of benchmarks.md is there, and what is compared is the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import bundle, frame
from registry.ledger import Ledger
from registry.store.local import LocalStore

FIGURES = {
    "pack_over_sha256sum", "restore_over_cp_sha256sum", "s3_restore_over_boto3", "cached_restore_over_digesting",
    "decoder_only_upload_bytes", "fold_100k_events_s",
}  # fmt: skip


def test_every_figure_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "MIX", bundle.Mix(large=(1, 300_000), middle=(2, 50_000), small=(5, 1_000)))
    monkeypatch.setattr(bundle, "EVENTS", 400)
    figures = bundle.measure(lambda _text: None).figures
    assert set(figures) >= FIGURES
    assert all(len(figures[name].runs) >= frame.MIN_RUNS for name in FIGURES - {"decoder_only_upload_bytes"})
    uploaded = figures["decoder_only_upload_bytes"].value
    assert 0 < uploaded < 10_000, "one file of eleven bytes and the manifest"


def test_the_ledger_is_whole_and_folds_from_its_snapshot(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    state = bundle.write_ledger(store, 450)
    assert Ledger(store, bundle.FAMILY).verify() == []
    assert Ledger(store, bundle.FAMILY).state() == state
    assert (state.sequence, len(list(store.list("snapshots/")))) == (449, 1)


def test_equal_mixes_give_equal_bundles(tmp_path: Path) -> None:
    mix = bundle.Mix(large=(1, 2_000), middle=(1, 500), small=(2, 100))
    first, second = (bundle.make_bundle(tmp_path / name, mix) for name in "ab")
    assert bundle._packed(LocalStore(tmp_path / "s"), first) == bundle._packed(LocalStore(tmp_path / "t"), second)
