"""A pack made from somebody's recordings and a table of what is said in them.

Boundary: reads one folder and writes another, which appears whole or not at all.
Invariants: mono 16-bit PCM WAV is copied byte by byte and mono 16-bit FLAC decoded, which loses nothing; anything else
is refused with the way to convert it, never converted. Rate, duration and digest are measured, never believed. Rights
(source, licence, consent) are the caller's to state.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from contracts.errors import AlreadyExists, Refused, WrongCall
from evalpacks.checks.audio import AudioFacts, Progress, measure
from evalpacks.checks.findings import RULES
from evalpacks.pack import OPTIONAL_COLUMNS, Pack, counted, load, write
from evalpacks.tables import FORMATS, read_table

if TYPE_CHECKING:
    import pandas as pd

REQUIRED = ("text", "speaker")
"""Columns of the table, beside `path` or `utterance_id`."""
KINDS = (".wav", ".flac")
_FILE_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*", re.ASCII)


class Made(NamedTuple):
    """A new pack, and what was not taken over: recordings that the table does not name, columns nobody asked for."""

    pack: Pack
    decoded: int
    unnamed: tuple[str, ...]
    unused: tuple[str, ...]


class _Source(NamedTuple):
    utterance_id: str
    path: Path
    fields: Mapping[str, Any]


def create(
    target: Path,
    *,
    source: Path,
    table: Path | None,
    card: Mapping[str, Any],
    language: str | None,
    on_progress: Progress,
) -> Made:
    """Make a pack in the folder `target`.

    Args:
        target: a folder that is not there yet.
        source: folder of the recordings.
        table: Parquet, CSV or JSON Lines with `path` (below the source) or `utterance_id` (file name without suffix),
            text, speaker, and optionally language, entities, speech_end_s and slice columns; None: the one that the
            source holds as `utterances.*`.
        card: fields of PackMeta, without languages and sample_rate_hz, which follow from table and recordings.
        language: of every utterance, where the table has no column of it.
        on_progress: called with (recordings done, recordings in all).

    Raises:
        WrongCall: the table is missing or lacks columns.
        AlreadyExists: the target is there.
        Refused: recordings are missing or in another form, or what results is no pack.
    """
    import pandas as pd

    if target.exists():
        raise AlreadyExists(
            f"the pack {target.name!r} is already there",
            where=str(target),
            next_step="remove it, or choose another name",
        )
    rows = read_table(table or _found_table(source), columns=REQUIRED, what="the table of utterances")
    known = [*REQUIRED, "language", *OPTIONAL_COLUMNS, *card["slices"]]
    sources = _sources(rows, source, [name for name in known if name in rows.columns], language)
    partial = target.with_name(f".{target.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / "audio").mkdir(parents=True)
    try:
        facts = _take(sources, partial, on_progress)
        described = pd.DataFrame([_row(one, fact) for one, fact in zip(sources, facts, strict=True)])
        rates = sorted({fact.rate_hz for fact in facts})
        languages = sorted(set(described["language"]))
        write(partial, {**card, "languages": languages, "sample_rate_hz": rates}, described)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    named = {one.path for one in sources}
    return Made(
        pack=load(target),
        decoded=sum(one.path.suffix.lower() == ".flac" for one in sources),
        unnamed=tuple(sorted(path.relative_to(source).as_posix() for path in _recordings(source) if path not in named)),
        unused=tuple(str(name) for name in rows.columns if name not in (*known, "path", "utterance_id")),
    )


def _found_table(source: Path) -> Path:
    found = [source / f"utterances{suffix}" for suffix in FORMATS if (source / f"utterances{suffix}").is_file()]
    if len(found) == 1:
        return found[0]
    raise WrongCall(
        "there is no table of what is said" if not found else "there are several tables of what is said",
        where=str(source),
        got=", ".join(path.name for path in found),
        expected=" or ".join(f"utterances{suffix}" for suffix in FORMATS),
        next_step="name the table with --table",
    )


def _recordings(source: Path) -> list[Path]:
    return [path for path in source.rglob("*") if path.suffix.lower() in KINDS and path.is_file()]


def _sources(rows: pd.DataFrame, source: Path, known: Sequence[str], language: str | None) -> list[_Source]:
    """Each row with its recording; raises for rows without one, and for ids that are no file names."""
    if not {"path", "utterance_id"} & set(rows.columns):
        raise WrongCall(
            "the table of utterances names no recordings",
            expected="a column path or utterance_id",
            next_step="add one of them",
        )
    if language is None and "language" not in rows.columns:
        raise WrongCall(
            "no language is given", expected="a column language, or one for all", next_step="add --language en"
        )
    found = []
    for row in rows.to_dict("records"):
        path = _recording(source, row)
        utterance_id = str(row.get("utterance_id") or Path(str(row.get("path"))).with_suffix("").as_posix())
        fields = {"language": language, **{name: row[name] for name in known}}
        found.append(_Source(utterance_id.replace("/", "-"), path, fields))
    absent = [one.utterance_id for one in found if not one.path.is_file()]
    if absent:
        raise _refused("recordings are not there", absent, expected="a WAV or FLAC file for each row")
    unfit = [one.utterance_id for one in found if not _FILE_NAME.fullmatch(one.utterance_id)]
    if unfit:
        raise _refused("ids are no file names", unfit, expected=f"ids like {_FILE_NAME.pattern}")
    return found


def _recording(source: Path, row: Mapping[Any, Any]) -> Path:
    if isinstance(row.get("path"), str) and row["path"]:
        return source / str(row["path"])
    candidates = [source / f"{row.get('utterance_id')}{suffix}" for suffix in KINDS]
    return next((path for path in candidates if path.is_file()), candidates[0])


def _take(sources: Sequence[_Source], partial: Path, on_progress: Progress) -> list[AudioFacts]:
    """Copy or decode every recording; raises Refused naming those in another form, by form."""
    facts: list[AudioFacts] = []
    unfit: dict[str, list[str]] = {}
    for done, one in enumerate(sources, start=1):
        kept = partial / "audio" / f"{one.utterance_id}.wav"
        fault = _decode(one.path, kept) if one.path.suffix.lower() == ".flac" else ""
        if not fault:
            if one.path.suffix.lower() != ".flac":
                shutil.copyfile(one.path, kept)
            fact = measure(kept.read_bytes())
            fault = fact.fault
            facts.append(fact)
        if fault:
            unfit.setdefault(fault, []).append(one.utterance_id)
        on_progress(done, len(sources))
    for code, names in unfit.items():
        rule = RULES[code]
        raise _refused(rule.what, names, expected="mono 16-bit PCM WAV, or mono 16-bit FLAC", next_step=rule.next_step)
    return facts


def _decode(flac: Path, wav: Path) -> str:
    """Decode a FLAC file without loss; the code of why not, or empty."""
    import soundfile

    try:
        info = soundfile.info(flac)
        if info.channels != 1:
            return "wrong_channels"
        if info.subtype != "PCM_16":
            return "wrong_encoding"
        samples, rate_hz = soundfile.read(flac, dtype="int16")
    except soundfile.LibsndfileError:
        return "unreadable_audio"
    soundfile.write(wav, samples, rate_hz, subtype="PCM_16")
    return ""


def _row(one: _Source, fact: AudioFacts) -> dict[str, Any]:
    fields = dict(one.fields)
    if isinstance(fields.get("entities"), list):
        fields["entities"] = json.dumps(fields["entities"], ensure_ascii=False)
    if "speech_end_s" in fields:
        fields["speech_end_s"] = _seconds(fields["speech_end_s"], one.utterance_id)
    return {
        "utterance_id": one.utterance_id,
        "path": f"audio/{one.utterance_id}.wav",
        "duration_s": fact.duration_s,
        "sample_rate_hz": fact.rate_hz,
        "sha256": fact.sha256,
        **fields,
    }


def _seconds(value: object, utterance_id: str) -> float:
    try:
        return float(str(value))
    except ValueError:
        raise _refused("speech_end_s is no number", [utterance_id], expected="seconds from the start") from None


def _refused(what: str, names: Sequence[str], *, expected: str, next_step: str = "") -> Refused:
    return Refused(
        f"the pack is not made: {what}",
        got=counted("utterance", names),
        expected=expected,
        next_step=next_step or "correct the table or the folder",
    )
