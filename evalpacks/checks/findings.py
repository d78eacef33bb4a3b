"""What a check of a pack may find: every code, how grave it is, what it says and what helps.

Boundary: pure.
Invariants: an error means that scores on the pack would be wrong or could not be had, a warning that they may say less
than they seem to; a finding names utterances, slices, speakers, intents, languages or files, never what was said.
docs/packs.md lists the same codes (a test keeps it so).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pydantic import JsonValue

from evalpacks.pack import counted

Severity = Literal["error", "warning"]
Noun = Literal["utterance", "slice", "speaker", "intent", "language", "file"]

_KEPT = 20
"""Names that a finding keeps; its message shows fewer."""


class Rule(NamedTuple):
    """A kind of finding: how grave, what is wrong, what helps, and what its names are names of."""

    severity: Severity
    what: str
    next_step: str
    of: Noun = "utterance"


_REDO = "restore the files (dvc checkout), or make the pack again from its source"
_WRITE_WAV = "write mono 16-bit PCM WAV, e.g. ffmpeg -i IN -ac 1 -c:a pcm_s16le OUT.wav, and make the pack again"
_LISTEN = "listen to them; correct or leave them out"
_RETYPE = "write what is said, and only that"

RULES: dict[str, Rule] = {
    "audio_digest": Rule("error", "audio is not what its sha256 says", _REDO),
    "unreadable_audio": Rule("error", "audio is not a WAV file", _WRITE_WAV),
    "wrong_encoding": Rule("error", "audio is not 16-bit PCM", _WRITE_WAV),
    "wrong_channels": Rule("error", "audio has more than one channel", _WRITE_WAV),
    "truncated_audio": Rule("error", "audio ends before its header says", _REDO),
    "no_samples": Rule("error", "audio holds no samples", _REDO),
    "wrong_rate": Rule("error", "audio has another rate than sample_rate_hz says", "correct the table"),
    "wrong_duration": Rule("error", "audio has another length than duration_s says", "correct the table"),
    "silent_audio": Rule("error", "audio is silent from end to end", _LISTEN),
    "mostly_silent": Rule("warning", "audio is silent for most of its time", _LISTEN),
    "clipped_audio": Rule("warning", "audio is clipped", "record or scale it lower, or declare it as a slice"),
    "dc_offset": Rule("warning", "audio has a DC offset", "remove the offset with a high-pass filter"),
    "duplicate_audio": Rule("error", "audio stands in the pack more than once", "keep one of each"),
    "duplicate_recording": Rule(
        "warning", "recordings differ in their header or in the silence around them only", "keep one of each"
    ),
    "stray_audio": Rule("warning", "audio is in the folder but not in the table", "describe it or remove it", "file"),
    "no_words": Rule("error", "texts have neither letters nor digits", _RETYPE),
    "broken_text": Rule("error", "texts have control or replacement characters", "save the table as UTF-8 text"),
    "markup": Rule("error", "texts have markup or notes in brackets", _RETYPE),
    "timestamps": Rule("error", "texts have timestamps", _RETYPE),
    "foreign_letters": Rule("warning", "texts have letters that their language is not written in", _RETYPE),
    "not_composed": Rule("warning", "texts are not in Unicode's composed form", "save them in the form NFC"),
    "digits": Rule(
        "warning", "texts have digits, which the normaliser leaves as they are", "write numbers as they are said"
    ),
    "too_fast": Rule("warning", "texts are longer than a person can say in that time", _LISTEN),
    "too_slow": Rule("warning", "texts are short for their audio", _LISTEN),
    "malformed_entities": Rule(
        "error", "entities are not JSON of the declared form", 'write [{"type": "...", "text": "..."}], [] for none'
    ),
    "entity_not_in_text": Rule(
        "error", "entities are not parts of their texts in order", "copy each entity from the text, in order"
    ),
    "speech_end": Rule("error", "speech_end_s is not within the audio", "measure it from the start of the audio, in s"),
    "no_intent": Rule(
        "warning", "texts match no intent of pack.yaml, so intent recall does not count them", "extend the patterns"
    ),
    "two_intents": Rule("warning", "texts match several intents of pack.yaml", "make the patterns exclude each other"),
    "idle_intent": Rule("warning", "intents match no text", "add utterances of the intent, or drop it", "intent"),
    "undeclared_language": Rule("error", "utterances have a language that pack.yaml does not declare", "declare it"),
    "idle_language": Rule(
        "warning", "declared languages have no utterance", "add some, or drop the language", "language"
    ),
    "no_protected_slice": Rule(
        "warning", "pack.yaml protects no slice", "name the slices that must not get worse under `protected`", "slice"
    ),
    "empty_slice": Rule(
        "error", "protected or high-risk slices have no utterance", "add utterances, or correct the name", "slice"
    ),
    "little_support": Rule("warning", "protected slices have less than min_support", "add speakers or words", "slice"),
    "few_speakers": Rule(
        "warning",
        "protected slices have under 10 speakers, so results are conditional on these speakers",
        "add speakers",
        "slice",
    ),
    "one_speaker": Rule("warning", "slices hold one speaker's voice only", "add speakers", "slice"),
    "leaked_audio": Rule("error", "audio is in the training data", "train without it, or leave it out"),
    "leaked_speaker": Rule(
        "error", "speakers are in the training data", "train without them, or leave them out", "speaker"
    ),
    "expectation": Rule("error", "the table does not meet its suite", "correct the rows, or the suite"),
}
"""Code -> rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One kind of fault and where it is.

    Attributes:
        code: key of RULES.
        count: how many utterances (slices, ...) have it.
        names: the first of them.
        detail: of what, where the code alone does not say it: an expectation, a manifest.
    """

    code: str
    count: int
    names: tuple[str, ...]
    detail: str = ""

    @property
    def severity(self) -> Severity:
        """Of its rule."""
        return RULES[self.code].severity

    @property
    def message(self) -> str:
        """One sentence: what, of what, how many, and the first of them."""
        rule = RULES[self.code]
        what = f"{rule.what} ({self.detail})" if self.detail else rule.what
        return f"{what}: {counted(rule.of, self.names, self.count)}" if self.count else what

    def as_json(self) -> dict[str, JsonValue]:
        """For programs."""
        rule = RULES[self.code]
        return {
            "code": self.code,
            "severity": rule.severity,
            "message": self.message,
            "of": rule.of,
            "count": self.count,
            "names": list(self.names),
            "next_step": rule.next_step,
        }


def finding(code: str, names: Sequence[str] = (), *, count: int | None = None, detail: str = "") -> Finding:
    """A finding about these names; `count` where there are more than are named."""
    return Finding(code=code, count=len(names) if count is None else count, names=tuple(names[:_KEPT]), detail=detail)


def grouped(faults: Iterable[tuple[str, str]]) -> list[Finding]:
    """Pairs of (name, code) as one finding a code, in the order of RULES."""
    names: dict[str, list[str]] = {}
    for name, code in faults:
        names.setdefault(code, []).append(name)
    return [finding(code, names[code]) for code in RULES if code in names]
