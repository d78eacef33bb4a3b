"""Ingress: who asks (API keys), what the request is called (trace), its terms, labels and session.

Boundary: reads `api_keys.json` and the telemetry salt of the home folder; everything else is a pure function.
Invariants: keys are compared as SHA-256 digests in constant time; without a keys file no key is valid; a label outside
the contract's pattern, or one value too many of a label, becomes `other`, so that no free text gets into telemetry.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from contracts.telemetry import REQUEST_LABELS
from serving.frames import Priority
from serving.link import ServingFailure

MAX_LABEL_VALUES = 64
"""Different values of one label that telemetry keeps; more become `other`."""

ANY_TENANT = "*"
"""The tenant of a key that may name its tenant in a header (a traffic generator, a trusted front end)."""

_LABEL = re.compile(r"[a-z0-9][a-z0-9_.+-]{0,39}")
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:[-_][a-z0-9]{2,8}){0,3}")
"""A BCP 47 tag: what else a client writes there is no language, and may be anything."""
_TRACEPARENT = re.compile(
    r"[0-9a-f]{2}-(?P<trace>[0-9a-f]{32})-(?P<parent>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?:-.*)?"
)
_REREAD_S = 1.0


MAX_DEADLINE_MS = 86_400_000

PRIORITIES: tuple[Priority, ...] = ("interactive", "batch")


class Trace(NamedTuple):
    """A request's place in a W3C trace: its id (32 hexadecimal characters), who called, and the gateway's own span.

    `arrived` is when it came, in seconds on the monotonic clock.
    """

    request_id: str
    parent: str
    span: str
    flags: str
    arrived: float

    @property
    def traceparent(self) -> str:
        """The header that answers, and what is called on the way, carry on."""
        return f"00-{self.request_id}-{self.span}-{self.flags}"

    @property
    def headers(self) -> dict[str, str]:
        """What every answer says."""
        return {"X-Request-Id": self.request_id, "traceparent": self.traceparent}


class Terms(NamedTuple):
    """On which terms a request is heard: its class, and seconds until it is given up."""

    priority: Priority
    deadline_s: float


class Caller(NamedTuple):
    """The holder of a key."""

    name: str
    tenant: str


class Keys:
    """The API keys of an installation, read again when their file changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys: dict[str, Caller] = {}
        self._stamp: tuple[int, int] | None = None
        self._read_at = float("-inf")

    def caller(self, authorization: str) -> Caller:
        """Who holds the key of an `Authorization: Bearer KEY` header; ServingFailure `unauthorized` for nobody."""
        self._refresh()
        scheme, _, key = authorization.partition(" ")
        offered = hashlib.sha256(key.strip().encode()).hexdigest()
        found: Caller | None = None
        for digest, caller in self._keys.items():
            if hmac.compare_digest(digest, offered):
                found = caller
        if found is None or scheme.lower() != "bearer":
            raise ServingFailure("unauthorized", "the API key is missing or not valid: send Authorization: Bearer KEY")
        return found

    def _refresh(self) -> None:
        now = time.monotonic()
        if now - self._read_at < _REREAD_S:
            return
        self._read_at = now
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if stamp == self._stamp:
                return
            entries = json.loads(self._path.read_bytes())["keys"]
            self._keys = {
                digest: Caller(str(entry["name"]), str(entry.get("tenant", ANY_TENANT)))
                for digest, entry in entries.items()
            }
            self._stamp = stamp
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            # Fail closed: a missing or malformed file makes no key valid.
            self._keys, self._stamp = {}, None


def trace_of(traceparent: str) -> Trace:
    """The trace that a W3C `traceparent` names, or a new one where it is missing or malformed."""
    span, arrived = secrets.token_hex(8), time.monotonic()
    match = _TRACEPARENT.fullmatch(traceparent.strip())
    if match and match["trace"] != "0" * 32 and match["parent"] != "0" * 16:
        return Trace(match["trace"], match["parent"], span, match["flags"], arrived)
    return Trace(secrets.token_hex(16), "", span, "01", arrived)


def terms_of(headers: Mapping[str, str], deadline_s: float) -> Terms:
    """What `X-Soundcheck-Priority` and `X-Soundcheck-Deadline-Ms` ask for, at most `deadline_s` seconds.

    Raises ServingFailure `bad_request` where a header makes no sense.
    """
    asked = headers.get("x-soundcheck-priority", "interactive")
    priority = next((known for known in PRIORITIES if known == asked), None)
    if priority is None:
        raise ServingFailure(
            "bad_request", f"X-Soundcheck-Priority is one of {', '.join(PRIORITIES)}", param="X-Soundcheck-Priority"
        )
    within_ms = headers.get("x-soundcheck-deadline-ms")
    if within_ms is None:
        return Terms(priority, deadline_s)
    if not (re.fullmatch("[0-9]{1,8}", within_ms) and 0 < int(within_ms) <= MAX_DEADLINE_MS):
        raise ServingFailure(
            "bad_request",
            f"X-Soundcheck-Deadline-Ms is a whole number of milliseconds from 1 to {MAX_DEADLINE_MS}",
            param="X-Soundcheck-Deadline-Ms",
        )
    return Terms(priority, min(deadline_s, int(within_ms) / 1000))


def check_language(language: str, known: Sequence[str]) -> None:
    """Refuse a language that a bundle was not released for: `en-GB` is `en`, a bundle that says nothing knows all.

    Raises ServingFailure `unsupported_language`.
    """

    def primary(tag: str) -> str:
        return tag.strip().lower().replace("_", "-").partition("-")[0]

    if language and known and primary(language) not in map(primary, known):
        raise ServingFailure(
            "unsupported_language",
            f"this model was not released for that language; it knows: {', '.join(known)}",
            param="language",
        )


class LabelBook:
    """Turns what clients send as labels into a small set of values."""

    def __init__(self) -> None:
        self._seen: dict[str, set[str]] = {name: set() for name in REQUEST_LABELS}

    def value(self, name: str, text: str) -> str:
        """The label's value: lower case, `other` where it is no label or one too many."""
        value = text.strip().lower()
        if not (_LANGUAGE if name == "language" else _LABEL).fullmatch(value):
            return "other"
        seen = self._seen[name]
        if value not in seen:
            if len(seen) >= MAX_LABEL_VALUES:
                return "other"
            seen.add(value)
        return value

    def labels(self, sent: Mapping[str, str], caller: Caller) -> dict[str, str]:
        """The request's labels: of `sent` those that are known, the tenant from the key unless the key may name any."""
        labels = {name: self.value(name, sent[name]) for name in REQUEST_LABELS if sent.get(name)}
        if caller.tenant != ANY_TENANT:
            labels["tenant"] = self.value("tenant", caller.tenant)
        labels["probe"] = "yes" if labels.get("probe") in ("yes", "1", "true") else "no"
        return labels


def session(sent: str, caller: Caller, client: str) -> str:
    """The session a request belongs to, within its key; without one, the key and the client's address."""
    return f"{caller.name}/{sent or '@' + client}"


class Pseudonyms:
    """Keyed hashes of session ids: the same within a home folder, meaningless outside."""

    def __init__(self, salt: bytes) -> None:
        self._salt = salt

    def of(self, session_id: str) -> str:
        """32 hexadecimal characters that stand for a session in telemetry."""
        return hmac.new(self._salt, session_id.encode(), hashlib.sha256).hexdigest()[:32]


def salt(path: Path) -> bytes:
    """The home folder's telemetry salt, made at the first call; only this user can read it."""
    if path.is_file():
        return path.read_bytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(secrets.token_bytes(32))
    try:
        # A link never replaces: of several gateways that start at once one wins and all read the same salt.
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
    return path.read_bytes()
