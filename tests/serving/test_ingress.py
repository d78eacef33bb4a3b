from __future__ import annotations

import hashlib
import json
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.policy import RateLimit
from contracts.telemetry import REQUEST_LABELS
from serving.ingress import (
    Caller,
    Keys,
    LabelBook,
    Pseudonyms,
    Terms,
    check_language,
    salt,
    session,
    terms_of,
    trace_of,
)
from serving.limits import Limiter
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


def test_a_trace_is_carried_on() -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    carried = trace_of(f"00-{trace}-00f067aa0ba902b7-00")
    assert (carried.request_id, carried.parent, carried.flags) == (trace, "00f067aa0ba902b7", "00")
    assert carried.span != carried.parent
    assert carried.headers == {"X-Request-Id": trace, "traceparent": f"00-{trace}-{carried.span}-00"}
    assert trace_of(carried.traceparent).parent == carried.span


@pytest.mark.parametrize(
    "wrong", ["", "00-zz-1-01", f"00-{'0' * 32}-00f067aa0ba902b7-01", f"00-{'a' * 32}-{'0' * 16}-01"]
)
def test_without_a_good_traceparent_a_trace_begins(wrong: str) -> None:
    made = trace_of(wrong)
    assert made.parent == ""
    assert made != trace_of(wrong)
    assert trace_of(made.traceparent).request_id == made.request_id


TERMS: dict[str, tuple[dict[str, str], Terms | str]] = {
    "nothing": ({}, Terms("interactive", 30.0)),
    "batch": ({"x-soundcheck-priority": "batch"}, Terms("batch", 30.0)),
    "sooner": ({"x-soundcheck-deadline-ms": "250"}, Terms("interactive", 0.25)),
    "later than may be": ({"x-soundcheck-deadline-ms": "86400000"}, Terms("interactive", 30.0)),
    "another class": ({"x-soundcheck-priority": "vip"}, "X-Soundcheck-Priority is one of interactive, batch"),
    "at once": ({"x-soundcheck-deadline-ms": "0"}, "X-Soundcheck-Deadline-Ms is a whole number of milliseconds from 1"),
    "negative": ({"x-soundcheck-deadline-ms": "-5"}, "X-Soundcheck-Deadline-Ms is a whole number"),
    "a fraction": ({"x-soundcheck-deadline-ms": "1.5"}, "X-Soundcheck-Deadline-Ms is a whole number"),
    "other digits": ({"x-soundcheck-deadline-ms": "٣"}, "X-Soundcheck-Deadline-Ms is a whole number"),
    "too many": ({"x-soundcheck-deadline-ms": "9" * 5000}, "X-Soundcheck-Deadline-Ms is a whole number"),
}


@pytest.mark.parametrize("name", TERMS)
def test_terms_come_from_headers(name: str) -> None:
    headers, expected = TERMS[name]
    if isinstance(expected, Terms):
        assert terms_of(headers, 30.0) == expected
    else:
        with pytest.raises(ServingFailure, match=f"^bad_request: {expected}"):
            terms_of(headers, 30.0)


def test_a_language_the_bundle_was_not_released_for_is_refused() -> None:
    for language, known in (("", ("en",)), ("en", ("en",)), ("en-GB", ("en",)), ("EN_us", ("de", "en-AU")), ("fr", ())):
        check_language(language, known)
    with pytest.raises(ServingFailure, match="was not released for that language; it knows: en, de") as refused:
        check_language("fr", ("en", "de"))
    assert (refused.value.code, refused.value.param) == ("unsupported_language", "language")


def test_a_holder_of_keys_is_let_in_at_its_rate() -> None:
    now = [0.0]
    limiter = Limiter(RateLimit(per_s=2, burst=3), lambda: now[0])
    for _ in range(3):
        limiter.enter("app")
    with pytest.raises(ServingFailure, match="rate_limited: this key may ask 2 times a second") as refused:
        limiter.enter("app")
    assert refused.value.retry_after_s == 0.5
    limiter.enter("another")
    now[0] += 0.5
    limiter.enter("app")
    Limiter(None).enter("app")


@given(
    per_s=st.floats(0.1, 50),
    burst=st.integers(1, 20),
    pauses=st.lists(st.floats(0, 3), min_size=1, max_size=60),
)
def test_law_nobody_is_let_in_more_often_than_burst_and_rate_allow(
    per_s: float, burst: int, pauses: list[float]
) -> None:
    now = 0.0
    entered: list[float] = []
    waits: list[float | None] = []
    limiter = Limiter(RateLimit(per_s=per_s, burst=burst), lambda: now)
    for pause in pauses:
        now += pause
        try:
            limiter.enter("app")
            entered.append(now)
        except ServingFailure as refused:
            waits.append(refused.retry_after_s)
    assert all(wait is not None and 0 < wait <= 1 / per_s + 1e-9 for wait in waits)
    for first, begin in enumerate(entered):
        for last in range(first, len(entered)):
            assert last - first + 1 <= burst + per_s * (entered[last] - begin) + 1e-6


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
