"""How numbers, names, times and digests are written, the same on every page.

Boundary: no I/O. Plain ASCII comes out; `typographic` turns it into what a browser shows.
Invariants: a number has a unit where one exists; text of a document never carries a control character onto a page.
Source: pages.md.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime
from typing import NamedTuple

from contracts.bundle import BIDIRECTIONAL

MINUS = "\u2212"
TIMES = "\u00d7"
ARROW = "\u2192"
_ALONE = re.compile(r"[a-z][a-z_.-]*$")
_MEASURED = re.compile(r"(-?\d+(?:\.\d+)?)(db|khz|hz|ms|s|x|kbps)$")
_UNITS = {"db": "dB", "khz": "kHz", "hz": "Hz", "ms": "ms", "s": "s", "x": "x", "kbps": "kbit/s"}
_MEANINGLESS = frozenset({"yes", "no", "true", "false", "none", "other", "unknown", "low", "high"})


class Scale(NamedTuple):
    """How a metric is written: a stored value times `factor`, with `decimals`, then `unit`.

    `points` is the unit of a difference ("points" of a percentage); `best` is the value of a model without a fault.
    """

    label: str
    factor: float = 1.0
    unit: str = ""
    points: str = ""
    decimals: int = 3
    best: float = 0.0

    def number(self, value: float) -> str:
        """A value without its unit."""
        return signless_zero(f"{value * self.factor:.{self.decimals}f}")

    def value(self, value: float | None) -> str:
        """A value with its unit; "none" where there is none (U2: no denominator, no rate)."""
        return "none" if value is None else self.number(value) + self.unit

    def difference(self, value: float | None) -> str:
        """A signed difference, without unit."""
        return "none" if value is None else signless_zero(f"{value * self.factor:+.{self.decimals}f}")

    def interval(self, lower: float | None, upper: float | None) -> str:
        """`[-3.1, -1.5]`, or "" where there are no bounds; an open side reads `..`."""
        if lower is None and upper is None:
            return ""
        low, high = (self.difference(bound) if bound is not None else ".." for bound in (lower, upper))
        return f"[{low}, {high}]"


PERCENT = Scale("share", 100, "%", "points", 1)
_SCALES = {
    "wer": PERCENT._replace(label="WER"),
    "cer": PERCENT._replace(label="CER"),
    "entity_error_rate": PERCENT._replace(label="entity error rate"),
    "intent_recall": PERCENT._replace(label="intent recall", best=1.0),
    "churn": PERCENT._replace(label="partial churn"),
    "early_endpoint_rate": PERCENT._replace(label="early endpoints"),
    "brier": Scale("Brier score", decimals=3),
    "mos": Scale("MOS (predicted)", decimals=2, best=5.0),
    "noise_mos": Scale("MOS of the background (predicted)", decimals=2, best=5.0),
    "speaker_similarity": Scale("speaker similarity", best=1.0),
    "duration_error": PERCENT._replace(label="length against the reference"),
    "silence_share": PERCENT._replace(label="silence"),
    "clipping": PERCENT._replace(label="clipped samples", decimals=2),
    "eer": PERCENT._replace(label="EER"),
    "min_dcf": Scale("minDCF"),
    "recall_at_1": PERCENT._replace(label="recall@1", best=1.0),
    "recall_at_5": PERCENT._replace(label="recall@5", best=1.0),
    "cross_version_eer": PERCENT._replace(label="EER across versions"),
    "macro_f1": PERCENT._replace(label="macro F1", best=1.0),
    "class_recall": PERCENT._replace(label="recall", best=1.0),
    "task_success": PERCENT._replace(label="task success", best=1.0),
    "groundedness": PERCENT._replace(label="groundedness", best=1.0),
    "citation_coverage": PERCENT._replace(label="citation coverage", best=1.0),
    "barge_in_success": PERCENT._replace(label="barge-in success", best=1.0),
}
"""Every quality metric that a policy may name (contracts.policy.MetricName)."""


def scale(metric: str) -> Scale:
    """How a metric is written; a metric without an entry is a bare number with three decimals."""
    return _SCALES.get(metric, Scale(plain(metric).replace("_", " ")))


def signless_zero(text: str) -> str:
    """`-0.0` and `+0.0` read `0.0`: a rounded zero has no direction."""
    return text.lstrip("+-") if not text.strip("+-0.") else text


def slice_name(name: str) -> str:
    """A slice as people say it: `accent=scottish&noise=5db` is `scottish x 5 dB`, `length=1-2` is `length 1-2`."""
    return " x ".join(_slice_part(part) for part in plain(name).split("&"))


def _slice_part(part: str) -> str:
    column, separator, value = part.partition("=")
    if not separator:
        return part
    if measured := _MEASURED.match(value):
        return f"{measured[1]} {_UNITS[measured[2]]}"
    if _ALONE.match(value) and value not in _MEANINGLESS:
        return value
    return f"{column} {value}"


def milliseconds(value: float) -> str:
    """`212 ms`; from ten seconds on `12.3 s`."""
    return f"{value:.0f} ms" if value < 10_000 else f"{value / 1000:.1f} s"


def duration(seconds: float | None) -> str:
    """`0.42 s`, `12.3 s`, `4 min 12 s`, `2 h 05 min`; "" for None."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def size(count: int) -> str:
    """Bytes in decimal units: `812 B`, `47.3 MB`."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 999.95:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def many(count: int, noun: str) -> str:
    """`1 speaker`, `24 speakers`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def clock(at: str) -> str:
    """The time of day of an ISO timestamp: `14:02:31 UTC`."""
    return moment(at).partition(" ")[2] or plain(at)


def moment(at: str) -> str:
    """Date and time of an ISO timestamp: `2026-11-20 14:02:31 UTC`; other text stays as it is."""
    try:
        read = datetime.fromisoformat(at)
    except ValueError:
        return plain(at)
    return (read.astimezone(UTC) if read.tzinfo else read).strftime("%Y-%m-%d %H:%M:%S UTC")


def key_hint(key_id: str) -> str:
    """The first characters of a key's name."""
    return f"key {plain(key_id)[:8]}..."


def plain(text: object) -> str:
    """Text from a document on one line, without control, bidirectional or escape characters."""
    kept = "".join(
        "?" if unicodedata.category(character) in ("Cc", "Cs") or character in BIDIRECTIONAL else character
        for character in " ".join(str(text).split())
    )
    return unicodedata.normalize("NFC", kept)


def typographic(text: str) -> str:
    """ASCII signs of a sentence as a browser shows them: a true minus, a times sign, an arrow."""
    text = re.sub(r"(?<![\w.-])-(?=\d)", MINUS, text)
    return text.replace(" x ", f" {TIMES} ").replace("->", ARROW)
