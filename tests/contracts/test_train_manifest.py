"""The train manifest: what older versions wrote is still read, and an honest lineage is all it takes."""

from __future__ import annotations

import json

import pytest

from contracts.errors import Corrupt
from contracts.train_manifest import DvcEntry, DvcLineage, TrainManifest

NONE = "0" * 64
MD5 = "d" * 32
DATA = DvcEntry(path="data/corpus", md5=f"{MD5}.dir", size=10, files=2, kind="data")
CODE = DvcEntry(path="train.py", md5=MD5, size=3, files=1, kind="code")
MANIFEST = TrainManifest(
    family="asr", version="v1", origin="own", training_code_sha="0" * 40, dirty=False, data=None, hyperparameters={},
    seeds={}, base_model="none", dependency_lock=NONE, dvc_lock=None, params=NONE, payload={}, payload_digest=NONE,
    leakage="none found", dvc=DvcLineage(stage="train", deps=(DATA, CODE), outs=(), remote=None),
)  # fmt: skip


def test_it_round_trips_and_names_the_data_that_dvc_holds() -> None:
    again = TrainManifest.parse(MANIFEST.canonical())
    assert again == MANIFEST
    assert again.dvc is not None
    assert again.dvc.data == (DATA,)


def test_a_manifest_written_before_dvc_was_recorded_is_still_read() -> None:
    old = MANIFEST.as_json()
    del old["dvc"]
    assert TrainManifest.parse(json.dumps(old).encode()).dvc is None


def test_a_digest_that_is_not_dvcs_is_corrupt() -> None:
    wrong = json.loads(MANIFEST.canonical())
    wrong["dvc"]["deps"][0]["md5"] = "../../etc/passwd"
    with pytest.raises(Corrupt, match=r"dvc\.deps\.0\.md5"):
        TrainManifest.parse(json.dumps(wrong).encode())
