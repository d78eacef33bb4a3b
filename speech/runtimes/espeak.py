"""espeak-ng as a voice: text to speech, sentence by sentence, from settings that the payload holds.

Boundary: reads the payload folder when it is loaded and nothing afterwards; speaks with the espeak-ng library that the
wheel espeakng-loader carries (its version is in the runtime lock, its data is not in the payload).
Invariants: the same text gives the same samples, whatever was said before or is being said beside it
(speech/espeak_library.py). A text is cut into pieces only between words, no word is dropped, and what stands in the
lexicon is written out before anything is cut.
Source: espeak-ng's speak_lib.h; OpenAI's speech API for the bound on a text.

Files of the payload
    voice.json      VoiceSettings
    lexicon.json    written form -> what is said for it ("Dr." -> "Doctor"); may be missing
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, NonNegativeFloat, PositiveInt, ValidationError

from contracts.document import Part
from contracts.errors import Refused, SoundcheckError
from speech.espeak_library import FreshLibrary, fresh_library
from speech.runtimes import Samples

Splitter = Literal["text", "sentences", "clauses"]
"""Where a text is cut into pieces that are spoken one by one: nowhere, after sentences, after every mark."""

_ENDS: dict[Splitter, re.Pattern[str] | None] = {
    "text": None,
    "sentences": re.compile(r"(?<=[.!?…])[\"')\]]*\s+(?=\W*[A-Z0-9])"),
    "clauses": re.compile(r"(?<=[.!?…,;:])[\"')\]]*\s+"),
}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")


class VoiceSettings(Part):
    """voice.json.

    Attributes:
        name: what clients may call the voice.
        voice: language and variant of espeak-ng, like `en-us+f3`.
        rate_wpm: words a minute.
        pitch: 0 to 99.
        sample_rate_hz: of what is spoken; the library's 22,050 Hz are resampled by soxr HQ.
        splitter: where a text is cut.
        pause_s: silence after every piece but the last.
        gain_db: what is added to the library's level; samples beyond full scale are clipped.
        max_characters: of one text.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    voice: str
    rate_wpm: Annotated[int, Field(ge=80, le=450)]
    pitch: Annotated[int, Field(ge=0, le=99)]
    sample_rate_hz: PositiveInt
    splitter: Splitter
    pause_s: NonNegativeFloat
    gain_db: float = 0.0
    max_characters: PositiveInt = 4096


class EspeakVoice:
    """A loaded voice (speech.runtimes.kinds.Voice)."""

    task: Literal["synthesis"] = "synthesis"

    def __init__(self, settings: VoiceSettings, lexicon: Mapping[str, str]) -> None:
        self.settings = settings
        self.sample_rate_hz: int = settings.sample_rate_hz
        self.name: str = settings.name
        self.max_characters: int = settings.max_characters
        self._written_out = _writer(lexicon)
        self._gain = 10 ** (settings.gain_db / 20)

    def sentences(self, text: str) -> list[str]:
        """The text as it is spoken, abbreviations written out, in the pieces of the splitter; Refused without words."""
        said = self._written_out(" ".join(_CONTROL.sub(" ", text).split()))
        end = _ENDS[self.settings.splitter]
        pieces = [said] if end is None else end.split(said)
        spoken = _with_words(pieces)
        if not spoken:
            raise Refused(
                "a text has nothing to say",
                got=f"{len(text)} characters without a letter or a digit",
                expected="words",
                next_step="send a text with words",
            )
        return spoken

    def speak(self, text: str) -> Iterator[Samples]:
        """One chunk a piece, (samples,) at `sample_rate_hz`, with the pause after it; Refused without words."""
        return self._spoken(self.sentences(text))

    def _spoken(self, pieces: list[str]) -> Iterator[Samples]:
        pause = np.zeros(round(self.settings.pause_s * self.sample_rate_hz), np.float32)
        with fresh_library(self.settings.voice) as library:
            for number, piece in enumerate(pieces, 1):
                samples = self._say(library, piece)
                yield samples if number == len(pieces) else np.concatenate([samples, pause])

    def _say(self, library: FreshLibrary, piece: str) -> Samples:
        import soxr

        settings = self.settings
        spoken = library.say(piece, voice=settings.voice, rate_wpm=settings.rate_wpm, pitch=settings.pitch)
        samples = soxr.resample(spoken.samples, library.sample_rate_hz, self.sample_rate_hz, quality="HQ")
        limited: Samples = np.clip(samples * self._gain, -1.0, 1.0).astype(np.float32)
        return limited


def load(payload: Path, *, threads: int = 1) -> EspeakVoice:  # noqa: ARG001  (the library has no threads)
    """Load the voice from its payload folder; raises Refused for settings that are malformed or name no voice."""
    try:
        settings = VoiceSettings.model_validate_json((payload / "voice.json").read_bytes())
        voice = EspeakVoice(settings, _lexicon(payload / "lexicon.json"))
        with fresh_library(settings.voice):
            pass
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        raise _refused(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except (OSError, ValueError, SoundcheckError) as error:
        raise _refused(str(error).split("\n")[0] or type(error).__name__) from None
    return voice


def _lexicon(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    entries = json.loads(path.read_bytes())
    if not isinstance(entries, dict) or not all(key and isinstance(value, str) for key, value in entries.items()):
        raise ValueError("lexicon.json is not a mapping of written to spoken forms")
    return entries


def _writer(lexicon: Mapping[str, str]) -> Callable[[str], str]:
    """Writes out the entries of a lexicon where they stand as whole words, the longest first."""
    if not lexicon:
        return lambda text: text
    longest_first = sorted(lexicon, key=len, reverse=True)
    entry = re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, longest_first)) + r")(?!\w)")
    return lambda text: entry.sub(lambda found: lexicon[found[0]], text)


def _with_words(pieces: list[str]) -> list[str]:
    """Pieces that each have a letter or a digit: one without goes to the one before it."""
    spoken: list[str] = []
    for piece in pieces:
        if any(sign.isalnum() for sign in piece):
            spoken.append(piece)
        elif spoken:
            spoken[-1] = f"{spoken[-1]} {piece}"
    return spoken


def _refused(got: str) -> Refused:
    return Refused(
        "a voice cannot be loaded",
        where="payload",
        got=got,
        expected="voice.json with the fields of speech.runtimes.espeak.VoiceSettings, and a lexicon",
        next_step="build the candidate again: python -m speech.third_party_voices NAME --out DIR",
    )
