"""How a slice is named in a packet: by a value that the family's own documents name, else by a keyed hash.

Boundary: pure; the key comes in.
Invariants: a label's value that nobody declared never appears: clients send labels, and a name, a path or a token has
the form of one; equal values have equal hashes within an installation, so that two packets can be compared, and
whoever holds the key and the telemetry can find the value.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Collection, Mapping

OVERALL = "overall"
LABELS = ("tenant", "device", "language", "codec", "accent", "noise", "length", "speed", "mode", "priority", "cascade")
"""The columns that an incident is sliced by."""
COMMON: Mapping[str, frozenset[str]] = {
    "tenant": frozenset({"internal"}),
    "device": frozenset({"phone", "tablet", "desktop", "laptop", "web", "car", "watch", "speaker", "tv", "headset"}),
    "language": frozenset(
        {"ar", "cs", "da", "de", "el", "en", "es", "fi", "fr", "he", "hi", "hu", "id", "it", "ja", "ko", "nl", "no",
         "pl", "pt", "ro", "ru", "sv", "th", "tr", "uk", "vi", "zh"}
    ),
    "codec": frozenset({"pcm", "pcm16", "opus", "g711", "g722", "ulaw", "alaw", "amr", "aac", "mp3", "flac", "wav"}),
    "mode": frozenset({"http", "stream"}),
    "priority": frozenset({"interactive", "batch"}),
    "cascade": frozenset({"small", "large"}),
}  # fmt: skip
"""Values that are the same everywhere and name nobody."""
_FORM = re.compile(r"[a-z0-9][a-z0-9_.+-]{0,39}")
NEUTRAL = frozenset({"none", "other", "unknown"})


class Names:
    """Writes slices.

    Args:
        declared: by label, the values that the family's policy, packs and routes name.
        key: of the hashes; it stays in the installation.
    """

    def __init__(self, declared: Mapping[str, Collection[str]], key: bytes) -> None:
        self._declared = {
            label: {value for value in declared.get(label, ()) if _FORM.fullmatch(value)}
            | COMMON.get(label, frozenset())
            for label in LABELS
        }
        self._key = key

    def is_declared(self, label: str, value: str) -> bool:
        """Whether a value may stand in a packet as it is."""
        return value in NEUTRAL or value in self._declared.get(label, ())

    def slice(self, label: str, value: str) -> str:
        """`device=phone`, or `device=#3f9a0c11d2e4` where nobody declared the value."""
        if self.is_declared(label, value):
            return f"{label}={value}"
        said = f"{label}={value}".encode(errors="surrogatepass")
        return f"{label}=#{hmac.new(self._key, said, hashlib.sha256).hexdigest()[:12]}"
