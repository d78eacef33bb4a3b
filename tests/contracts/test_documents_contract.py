"""Documents, digests, errors and verdicts: what every room relies on."""

from __future__ import annotations

import importlib
import json
import math
import pickle
import pkgutil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import contracts
from contracts.bundle import BundleManifest, Golden, GoldenFixture, path_fault, payload_digest
from contracts.digest import canonical_json, digest_of, sha256_bytes, sha256_file, short
from contracts.document import Document
from contracts.errors import (
    AlreadyExists,
    Conflict,
    Corrupt,
    DependencyFailed,
    NotFound,
    Refused,
    SoundcheckError,
    WrongCall,
)
from contracts.ledger_event import GENESIS, LedgerEvent
from contracts.registry_entry import missing_fields, validate_entry
from contracts.train_manifest import FileEntry
from contracts.verdict import Value, Verdict, worst

numbers = st.integers(1 - 2**53, 2**53 - 1) | st.floats(min_value=-1e15, max_value=1e15)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
texts = st.text(max_size=20)


@given(json_values)
def test_law_canonical_json_depends_on_the_value_alone(value: Any) -> None:
    again = json.loads(canonical_json(value))
    assert canonical_json(again) == canonical_json(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, 2**53, {"a": [-math.inf]}])
def test_what_has_no_canonical_form_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="not canonical JSON"):
        canonical_json(value)


def test_digests_are_sha256(tmp_path: Any) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert sha256_file(tmp_path / "file") == sha256_bytes(b"abc")
    assert sha256_bytes(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest_of({"b": 1, "a": 2}) == digest_of({"a": 2, "b": 1})
    assert short(sha256_bytes(b"abc")) == "ba7816bf8f01"


@given(fixtures=st.lists(st.tuples(texts, texts, st.dictionaries(texts, texts, max_size=3)), max_size=3))
def test_law_a_document_survives_its_bytes(fixtures: list[tuple[str, str, dict[str, str]]]) -> None:
    document = Golden(
        max_word_edits=0,
        fixtures=tuple(GoldenFixture(fixture_id=a, audio="x.wav", text=b, slices=c) for a, b, c in fixtures),
    )
    assert Golden.parse(document.canonical()) == document
    assert document.digest() == sha256_bytes(document.canonical())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "a golden is not JSON"),
        (b'{"kind":"golden","kind":"golden","max_word_edits":0,"fixtures":[]}', "duplicate key"),
        (b'{"kind":"bundle_manifest","max_word_edits":0,"fixtures":[]}', "a document is of another kind"),
        (b"[]", "a document is of another kind"),
        (b'{"kind":"golden","fixtures":[]}', "'max_word_edits'"),
        (b'{"kind":"golden","max_word_edits":0,"fixtures":[{"fixture_id":1}]}', "'fixtures.0.fixture_id'"),
        (b'{"kind":"golden","max_word_edits":0,"fixtures":[],"surplus":1}', "'surplus'"),
    ],
)
def test_bytes_that_are_no_document_are_corrupt(content: bytes, said: str) -> None:
    with pytest.raises(Corrupt) as raised:
        Golden.parse(content, where="blob abc")
    assert said in str(raised.value)
    assert "blob abc" in raised.value.where or raised.value.what == "a document is of another kind"


def test_a_document_cannot_be_changed() -> None:
    golden = Golden(max_word_edits=0, fixtures=())
    with pytest.raises(ValueError, match="frozen"):
        golden.max_word_edits = 1  # type: ignore[misc]


def test_every_document_has_a_kind_of_its_own() -> None:
    for module in pkgutil.iter_modules(contracts.__path__):
        importlib.import_module(f"contracts.{module.name}")
    kinds = [document.KIND for document in Document.__subclasses__() if document.__module__.startswith("contracts.")]
    assert len(kinds) == len(set(kinds)) > 10


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (Refused, 1),
        (Corrupt, 1),
        (AlreadyExists, 1),
        (Conflict, 1),
        (WrongCall, 2),
        (NotFound, 2),
        (DependencyFailed, 3),
    ],
)
def test_an_error_keeps_its_text_and_status_across_processes(kind: type[SoundcheckError], status: int) -> None:
    error = kind("it broke", where="here", got="this", expected="that", next_step="do so")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert again.exit_status == status
    assert str(again) == str(error) == "it broke\n  where: here\n  got: this\n  expected: that\n  next step: do so"
    assert str(kind("it broke")) == "it broke"


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("payload/weights.safetensors", None),
        ("a b/ü/日本.txt", None),
        ("", "not a relative POSIX path"),
        ("/a", "not a relative POSIX path"),
        ("a\\b", "not a relative POSIX path"),
        ("../a", "has an empty, '.' or '..' part"),
        ("a/../b", "has an empty, '.' or '..' part"),
        ("a//b", "has an empty, '.' or '..' part"),
        ("a/", "has an empty, '.' or '..' part"),
        ("u\u0308", "is not in Unicode NFC"),
        ("a\0", "has a control or bidirectional character"),
        ("a\u202eb", "has a control or bidirectional character"),
        ("ü" * 128, "has a part of over 255 bytes"),
    ],
)
def test_bundle_paths(path: str, fault: str | None) -> None:
    assert path_fault(path) == fault


def _manifest(*paths: str) -> BundleManifest:
    files = {path: FileEntry(sha256="a" * 64, size=1) for path in paths}
    return BundleManifest(family="asr", version="v1", payload_digest=payload_digest({}), files=files)


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        (("../evil",), "has an empty, '.' or '..' part"),
        (("README", "readme"), "paths 'README' and 'readme' differ only in case"),
        (("payload/x",), "payload_digest is not the digest of the payload files"),
    ],
)
def test_a_manifest_refuses_what_cannot_be_restored(paths: tuple[str, ...], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        _manifest(*paths)


def test_a_manifest_is_named_by_content_and_not_by_order() -> None:
    assert _manifest("a", "b").digest() == _manifest("b", "a").digest() != _manifest("a").digest()


def _event(**changes: Any) -> LedgerEvent:
    fields = {
        "family": "asr",
        "sequence": 3,
        "previous": GENESIS,
        "at": "2026-11-20T14:02:31Z",
        "step": "promote",
        "outcome": "complete",
        "release": "r1",
        "inputs": {"evidence": "a" * 64},
        "outputs": {"bundle": "b" * 64},
        "data": {"version": "v1", "n": 1, "x": None},
        **changes,
    }
    return LedgerEvent.model_validate(fields)


def test_an_event_is_an_openlineage_run_event() -> None:
    value = _event().run_event()
    assert (value["eventType"], value["job"]) == ("COMPLETE", {"namespace": "soundcheck/asr", "name": "promote"})
    assert value["outputs"] == [{"namespace": "soundcheck", "name": "bundle/" + "b" * 64}]
    assert value["run"]["facets"]["soundcheck"]["_schemaURL"].endswith("SoundcheckRunFacet.json")
    start = _event(outcome="start", sequence=2)
    assert start.run_event()["run"]["runId"] == value["run"]["runId"], "intent and outcome are one run"


@pytest.mark.parametrize("outcome", ["start", "complete", "fail"])
def test_an_event_survives_its_bytes(outcome: str) -> None:
    event = _event(outcome=outcome)
    assert LedgerEvent.from_bytes(event.to_bytes()) == event


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        _event().to_bytes() + b"\n",
        _event().to_bytes().replace(b'"eventTime"', b'"eventTimes"'),
    ],
)
def test_bytes_that_are_no_event_are_corrupt(content: bytes) -> None:
    with pytest.raises(Corrupt, match="a ledger event"):
        LedgerEvent.from_bytes(content, where="ledger/asr/000000000003")


verdicts = st.builds(Verdict, value=st.sampled_from(list(Value)), reasons=st.lists(texts, max_size=2).map(tuple))


def test_missing_evidence_never_passes() -> None:
    assert worst([]) == Verdict(value=Value.FAIL, reasons=("no gate has given a verdict",))


def test_verdicts_are_ordered() -> None:
    assert [value.severity for value in (Value.PASS, Value.INCONCLUSIVE, Value.ERROR, Value.FAIL)] == [0, 1, 2, 3]


@given(st.lists(verdicts, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_law_the_worst_wins_whatever_the_order(given_verdicts: list[Verdict], random: Any) -> None:
    shuffled = list(given_verdicts)
    random.shuffle(shuffled)
    combined = worst(given_verdicts)
    assert combined.value == worst(shuffled).value == max((v.value for v in given_verdicts), key=lambda v: v.severity)
    assert sorted(combined.reasons) == sorted(reason for verdict in given_verdicts for reason in verdict.reasons)


def test_all_missing_registry_fields_are_named_at_once() -> None:
    """R2.1."""
    assert "owner" in missing_fields({"owner": ""})
    assert "owner" not in missing_fields({"owner": "none: orphaned"})
    with pytest.raises(Refused) as raised:
        validate_entry({"owner": "speech team"}, where="candidates/asr/v1")
    assert raised.value.got.startswith("missing: base_model, data_manifest, feature_contract")
    assert raised.value.what.startswith("the registry entry lacks ")
