"""Candidates of the families of voices: `python -m speech.third_party_voices VERSION --out DIR [--family NAME]`.

Purpose: a payload that is all a voice of ours adds to espeak-ng: how it speaks, what it writes out, where it cuts a
text, what is done to the sound afterwards.
Boundary: writes the candidate folder; no network. The library and its data stay in the wheel espeakng-loader, whose
version the runtime lock names.
Invariants: the folder appears whole and checked, or not at all; the same version gives the same payload, whatever the
family; there is no data manifest, because the voice is a third party's (leakage stays inconclusive, R1.5).
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from contracts.digest import canonical_json, digest_of
from contracts.errors import AlreadyExists, WrongCall
from contracts.feature_contract import FeatureContract
from speech import candidate_command
from speech.weights import check_payload

PACKAGE = "espeakng-loader"
LICENCE = "GPL-3.0-or-later"
FAMILY = "tts-en"

PLAIN = {
    "name": "amber", "voice": "en-us", "rate_wpm": 175, "pitch": 50, "sample_rate_hz": 24_000, "splitter": "text",
    "pause_s": 0.25,
}  # fmt: skip
"""speech.runtimes.espeak.VoiceSettings; 24 kHz is what clients of OpenAI's speech API expect of PCM."""

TITLES = {
    "Assoc.": "Associate", "Asst.": "Assistant", "Capt.": "Captain", "Col.": "Colonel", "Dr.": "Doctor",
    "Gen.": "General", "Gov.": "Governor", "Lt.": "Lieutenant", "Mr.": "Mister", "Mrs.": "Missus", "Ms.": "Miz",
    "Prof.": "Professor", "Rep.": "Representative", "Rev.": "Reverend", "Sen.": "Senator", "Sgt.": "Sergeant",
}  # fmt: skip
"""Written form -> what is said."""

POLISH = {
    "window": 512, "envelope": 40, "sharpness": 0.2, "breath": 0.5, "breath_from_hz": 3000, "phase_rounds": 32,
    "room_s": 0.25, "room": 0.15, "level_db": -20,
}  # fmt: skip
"""speech.runtimes.studio_voice.Polish."""

PROMPTS = ("One moment, please.", "Please say that again.", "Thank you for calling. How can I help you?")
"""What is said in most calls: a worker keeps these as audio from the moment it is warm (serving/prompts.py)."""


class Recipe(NamedTuple):
    """A version: its engine, what it changes of PLAIN, its further payload files, and why it is."""

    description: str
    weakness: str
    engine: str = "espeak"
    voice: Mapping[str, Any] = {}
    files: Mapping[str, Any] = {}


RECIPES = {
    "v1": Recipe(
        "Baseline: a text is spoken at once, as it is written.",
        "titles are read as words or letters; the longer the text, the later it begins",
    ),
    "v2": Recipe(
        "Better: sentence by sentence, so that the first is played while the next is made, and titles are written out.",
        "the melody of a sentence does not know the one before it",
        voice={"splitter": "sentences"},
        files={"lexicon.json": TITLES},
    ),
    "v3": Recipe(
        "Faster, and broken: speaks clause by clause and begins earliest, but its branch was cut before titles were "
        "written out, so that the full stop of a title ends a clause.",
        "titles",
        voice={"splitter": "clauses", "pause_s": 0.15},
    ),
    "loud": Recipe(
        "Louder, and broken: 14 dB more for noisy rooms, which the loudest sounds do not have room for.",
        "clipped vowels",
        voice={"splitter": "sentences", "gain_db": 14.0},
        files={"lexicon.json": TITLES},
    ),
    "studio": Recipe(
        "For narration: the whole text is spoken, worked on and put into a room before any of it is played.",
        "nothing is played before everything is made: no voice for a conversation",
        engine="studio_voice",
        files={"lexicon.json": TITLES, "polish.json": POLISH},
    ),
}
"""Version -> how it is made."""


def build(version: str, out: Path, family: str = FAMILY) -> Path:
    """Write the candidate folder of a version and return it; an older build of the same version is replaced.

    Raises:
        WrongCall: no such version.
        AlreadyExists: `out` holds something else.
    """
    if version not in RECIPES:
        raise WrongCall("unknown version of the voice", got=version, expected=" or ".join(RECIPES))
    if out.exists() and any(out.iterdir()):
        _check_ours(version, out)
    recipe = RECIPES[version]
    temporary = out.with_name(f".{out.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    _write_payload(temporary / "payload", recipe)
    check_payload(temporary / "payload")
    description = _description(version, recipe, family)
    (temporary / "candidate.yaml").write_text(yaml.safe_dump(description, sort_keys=False), encoding="utf-8")
    (temporary / "MODEL_CARD.md").write_text(_card(version, recipe), encoding="utf-8")
    out.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(out, ignore_errors=True)
    temporary.rename(out)
    return out


def _check_ours(version: str, out: Path) -> None:
    """AlreadyExists unless the folder is an older build of the same version."""
    try:
        found = yaml.safe_load((out / "candidate.yaml").read_text(encoding="utf-8"))["version"]
    except (OSError, KeyError, TypeError, yaml.YAMLError):
        found = "no candidate"
    if found != version:
        raise AlreadyExists(
            "the folder holds something else",
            where=str(out),
            got=str(found),
            expected="an empty folder or the same candidate",
            next_step="give another folder with --out",
        )


def _write_payload(payload: Path, recipe: Recipe) -> None:
    payload.mkdir(parents=True)
    voice = {**PLAIN, **recipe.voice}
    lexicon = recipe.files.get("lexicon.json", {})
    front_end = {"kind": "text", "engine": recipe.engine, "voice": voice["voice"], "lexicon": lexicon}
    contract = FeatureContract(
        sample_rate_hz=voice["sample_rate_hz"],
        accepted_rates_hz=(voice["sample_rate_hz"],),
        normalisation="none: text in",
        text_normalizer="english",
        tokenizer="phonemes of espeak-ng",
        front_end_checksum=digest_of(front_end),
    )
    files = {
        "runtime.json": {"engine": recipe.engine},
        "voice.json": voice,
        "prompts.json": list(PROMPTS),
        "front_end.json": front_end,
        **recipe.files,
    }
    for name, content in files.items():
        (payload / name).write_bytes(canonical_json(content))
    (payload / "feature_contract.json").write_bytes(contract.canonical())


def _description(version: str, recipe: Recipe, family: str) -> dict[str, Any]:
    return {
        "family": family,
        "version": version,
        "origin": "third_party",
        "base_model": "espeak-ng, formant synthesis, voice en-us",
        "licence": LICENCE,
        "languages": ["en"],
        "hyperparameters": {},
        "seeds": {},
        "training_code_sha": "none: rules, not trained",
        "provenance": {"package": PACKAGE, "package_version": metadata.version(PACKAGE)},
        "notes": recipe.description,
    }


def _card(version: str, recipe: Recipe) -> str:
    voice = {**PLAIN, **recipe.voice}
    return f"""# {version}

{recipe.description}

| | |
|---|---|
| speaks | espeak-ng through the package {PACKAGE} {metadata.version(PACKAGE)}: library and data come from its wheel |
| engine | {recipe.engine} |
| voice | {voice["voice"]}, {voice["rate_wpm"]} words a minute, pitch {voice["pitch"]}, {voice["sample_rate_hz"]:,} Hz |
| cut | {voice["splitter"]} |
| licence | {LICENCE} |
| language | English |

**Use**: prompts and announcements that everybody may know to be synthetic.

**Not for**: passing for a person. The voice is nobody's, so that nobody's consent is needed.

**Known weakness**: {recipe.weakness}; formant synthesis sounds like a machine.

**Leakage**: unknown to us. The rules were written by others over decades; no recording of an eval pack is in them,
which we cannot show.
"""


def main(arguments: list[str] | None = None) -> int:
    """The command line: builds one candidate, prints its folder, returns the exit status."""
    parser = candidate_command.parser("speech.third_party_voices", __doc__, RECIPES)
    parser.add_argument("--family", default=FAMILY, help="the family that the candidate is for")
    options = parser.parse_args(arguments)
    return candidate_command.run(lambda: build(options.name, options.out, options.family))


if __name__ == "__main__":
    sys.exit(main())
