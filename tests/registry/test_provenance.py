"""What the builder attests, computed from documents; what the in-toto schema says to it; comparing field by field."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import JsonValue

from contracts.bundle import BundleManifest, payload_digest
from contracts.digest import canonical_json
from contracts.errors import Corrupt
from contracts.reports import GateReport, ScoreReport
from contracts.train_manifest import DataSummary, FileEntry, TrainManifest
from contracts.verdict import Value, Verdict
from registry.provenance import PACKAGED, Build, check_provenance, differences, provenance, score_predicate

FILES = {path: FileEntry(sha256=f"{number:x}" * 64, size=1) for number, path in enumerate(PACKAGED.values(), 1)}
WEIGHTS = {"weights.safetensors": FileEntry(sha256="a" * 64, size=1)}
PAYLOAD = payload_digest(WEIGHTS)
DATA = DataSummary(digest="d" * 64, label_digest="e" * 64, utterances=1, hours=0.1, speakers=1, languages=("en",),
                   licences=("CC0-1.0",))  # fmt: skip


def build(*, origin: str = "own", quantized_from: str | None = None) -> Build:
    passed = Verdict(value=Value.PASS)
    return Build(
        bundle=BundleManifest(
            family="asr", version="v2", payload_digest=PAYLOAD,
            files=FILES | {f"payload/{path}": entry for path, entry in WEIGHTS.items()},
        ),
        manifest=TrainManifest.model_validate({
            "family": "asr", "version": "v2", "origin": origin, "training_code_sha": "0" * 40, "dirty": False,
            "data": DATA if origin == "own" else None, "hyperparameters": {}, "seeds": {}, "base_model": "a base",
            "dependency_lock": "b" * 64, "dvc_lock": "c" * 64, "params": "f" * 64, "payload": WEIGHTS,
            "payload_digest": PAYLOAD, "leakage": "none found",
        }),
        scores=ScoreReport.model_validate({
            "family": "asr", "version": "v2", "payload_digest": PAYLOAD, "stable_payload": None,
            "packs": {"p": "9" * 64},
            "policy": "8" * 64, "normalizer": "basic", "alpha": 0.05, "replicates": 10, "words": {}, "stable_words": {},
            "comparisons": (), "quantized_from": quantized_from,
        }),
        gates=GateReport(family="asr", version="v2", policy="8" * 64, quality=passed, serving=passed, safety=passed,
                         verdict=passed),
        candidate="7" * 64, policy="8" * 64, gate_report="6" * 64, release="r", builder="builder",
    )  # fmt: skip


def dependencies(predicate: Any) -> dict[str, Any]:
    return {row["name"]: row["digest"] for row in predicate["buildDefinition"]["resolvedDependencies"]}


@pytest.mark.parametrize(
    ("changes", "base"),
    [
        ({}, None),
        ({"quantized_from": "5" * 64}, "5" * 64),
        ({"origin": "third_party"}, PAYLOAD),
    ],
)
def test_the_base_model_is_named_by_digest_where_there_is_one(changes: dict[str, str], base: str | None) -> None:
    named = dependencies(provenance(build(**changes)))
    assert named.get("base_model") == ({"sha256": base} if base else None)
    assert ("data_manifest" in named) == (changes.get("origin") != "third_party")


def test_every_dependency_is_named_by_digest() -> None:
    named = dependencies(provenance(build()))
    assert named == {
        "train_manifest": {"sha256": FILES["train_manifest.json"].sha256},
        "data_manifest": {"sha256": "d" * 64},
        "training_code": {"gitCommit": "0" * 40},
        "dependency_lock": {"sha256": "b" * 64},
        "dvc_lock": {"sha256": "c" * 64},
        "params": {"sha256": "f" * 64},
        "payload": {"sha256": PAYLOAD},
    }


def test_it_satisfies_the_schema_of_in_toto_and_has_no_times() -> None:
    predicate = provenance(build())
    check_provenance(predicate)
    assert b"edOn" not in canonical_json(predicate), "startedOn and finishedOn would make two builds differ"
    for wrong in ({**predicate, "more": 1}, {"buildDefinition": {"resolvedDependencies": 3}}, {"runDetails": "me"}):
        with pytest.raises(Corrupt, match="not SLSA provenance v1"):
            check_provenance(wrong)


def test_the_scores_name_reports_packs_and_verdicts() -> None:
    said: dict[str, Any] = score_predicate(build())
    assert said["packs"] == {"p": "9" * 64}
    assert said["verdicts"] == {"quality": "pass", "serving": "pass", "safety": "pass"}
    assert said["scoreReport"] == FILES["reports/quality.json"].sha256


Leaf = st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab", max_size=2)
Name = st.text("xyz", min_size=1, max_size=2)
Json = st.recursive(Leaf, lambda inner: st.lists(inner) | st.dictionaries(Name, inner, max_size=3), max_leaves=8)


@given(left=Json, right=Json)
@example(left=1, right=True)
@example(left={"x": None}, right={})
@example(left=[], right={})
def test_law_no_difference_means_equal_bytes(left: JsonValue, right: JsonValue) -> None:
    assert differences(left, left) == []
    assert (differences(left, right) == []) == (canonical_json(left) == canonical_json(right))


def test_a_difference_is_named_by_its_path() -> None:
    said: dict[str, Any] = {"a": [{"b": 1}, {"b": 2}], "c": {"d": "x"}}
    other: dict[str, Any] = {"a": [{"b": 1}, {"b": 3}], "c": {"d": "x", "e": 1}}
    assert differences(said, other) == ["a[1].b", "c.e"]
    assert differences({"a": [1]}, {"a": [1, 2]}) == ["a"]
