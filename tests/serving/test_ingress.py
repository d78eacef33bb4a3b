from __future__ import annotations

import hashlib
import json
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.telemetry import REQUEST_LABELS
from serving.ingress import Caller, Keys, LabelBook, Pseudonyms, request_id, salt, session
from serving.link import ServingFailure

ANY = Caller("front-end", "*")


def keys_file(folder: Path, content: str) -> Path:
    path = folder / "api_keys.json"
    path.write_text(content)
    return path


def entry(key: str, **fields: str) -> str:
    return json.dumps({"keys": {hashlib.sha256(key.encode()).hexdigest(): {"name": "app", **fields}}})


def test_a_key_names_its_caller(tmp_path: Path) -> None:
    keys = Keys(keys_file(tmp_path, entry("k1", tenant="acme")))
    assert keys.caller("Bearer k1") == Caller("app", "acme")
    assert keys.caller("bearer k1") == Caller("app", "acme")


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer k2", "Basic k1", "k1", "Bearer k1 k1"])
def test_other_headers_are_nobody(tmp_path: Path, header: str) -> None:
    with pytest.raises(ServingFailure, match="unauthorized: the API key is missing or not valid"):
        Keys(keys_file(tmp_path, entry("k1"))).caller(header)


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"keys": []}', '{"keys": {"x": 1}}'])
def test_without_a_good_keys_file_no_key_is_valid(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "api_keys.json" if content is None else keys_file(tmp_path, content)
    with pytest.raises(ServingFailure, match="unauthorized"):
        Keys(path).caller("Bearer k1")


def test_a_trace_id_becomes_the_request_id() -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    assert request_id(f"00-{trace}-00f067aa0ba902b7-01") == trace
    for wrong in ("", "00-zz-1-01", f"00-{'0' * 32}-00f067aa0ba902b7-01", trace):
        made = request_id(wrong)
        assert made != trace
        assert len(made) == 32
        int(made, 16)


@given(st.dictionaries(st.sampled_from([*REQUEST_LABELS, "secret"]), st.text(max_size=60)))
def test_law_labels_are_always_of_the_contracts_form(sent: dict[str, str]) -> None:
    import re

    labels = LabelBook().labels(sent, ANY)
    assert set(labels) <= set(REQUEST_LABELS)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9_.+-]{0,39}", value) for value in labels.values())


def test_labels_keep_a_small_set_of_values() -> None:
    book = LabelBook()
    values = {book.value("device", f"device-{number}") for number in range(200)}
    assert len(values) == 65
    assert "other" in values
    assert book.value("device", "device-3") == "device-3"
    assert book.value("device", "Jane Roe, 12 High Street") == "other"


def test_a_key_of_one_tenant_cannot_name_another() -> None:
    book = LabelBook()
    assert book.labels({"tenant": "internal"}, Caller("app", "acme"))["tenant"] == "acme"
    assert book.labels({"tenant": "internal"}, ANY)["tenant"] == "internal"
    assert book.labels({}, ANY) == {"probe": "no"}
    assert book.labels({"probe": "yes"}, ANY) == {"probe": "yes"}


def test_sessions_are_apart_by_key_and_pseudonyms_by_home() -> None:
    other = Caller("other", "*")
    assert session("s1", ANY, "127.0.0.1") != session("s1", other, "127.0.0.1")
    assert session("", ANY, "127.0.0.1") == session("", ANY, "127.0.0.1")
    assert Pseudonyms(b"a").of("s1") == Pseudonyms(b"a").of("s1") != Pseudonyms(b"b").of("s1")


def test_the_salt_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "telemetry.salt"
    first = salt(path)
    assert salt(path) == first
    assert len(first) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [found.name for found in path.parent.iterdir()] == [path.name]
