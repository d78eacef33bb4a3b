"""An eval pack on disk: what a release is judged on.

    pack.yaml                 PackMeta: where it comes from, licence, consent, languages, slices, protected, high_risk
    utterances.parquet        one row an utterance: COLUMNS, OPTIONAL_COLUMNS, and one text column a slice
    audio/*.wav               mono PCM16, paths relative to the pack
    expectations/suite.json   what the table must satisfy, for Great Expectations; people may add to it

docs/packs.md is its description for people.

Boundary: `load` and `write` read and write one folder; `shared`, `overlap` and the digest are pure.
Invariants: a pack that loads is whole (unique ids, transcripts, declared rates, files that exist, slices of one
grammar); its digest depends on meaning alone (not on YAML layout, row order, the suite or where it lies), so a report
that names a digest names exactly what was heard and what was expected; a message never holds a transcript.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, PositiveInt, ValidationError

from contracts.digest import Digest, digest_of
from contracts.document import Part
from contracts.errors import Refused, SoundcheckError, WrongCall
from evalpacks import slices, suites

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "utterance_id",
    "path",
    "text",
    "speaker",
    "duration_s",
    "sample_rate_hz",
    "sha256",
    "language",
)
"""Columns that every utterances.parquet has, before its slice columns."""

OPTIONAL_COLUMNS = ("entities", "speech_end_s", "answer", "cites", "interrupts", "role")
"""Columns that one may have: `entities` is JSON, [{"type": ..., "text": ...}] in order of occurrence, each text a part
of the utterance's text; `speech_end_s` is when the last word ends, in seconds from the start of the audio; `role` says
of speaker trials whether an utterance enrols its speaker (`enrolment`) or is tried against all who are (`probe`);
of questions to an assistant `answer` is a JSON list of the facts that a right reply holds, `cites` one of the documents
that it rests on, `interrupts` the recording whose reply the utterance speaks over ("": none)."""

PACK_NAME = r"^[a-z0-9][a-z0-9-]*$"

SLICE_VALUE = r"[a-z0-9][a-z0-9_.+-]*"
"""What a slice value looks like."""

SUITE_FILE = "expectations/suite.json"

_META_FILE = "pack.yaml"
_TABLE_FILE = "utterances.parquet"
_SHOWN = 3


def _many(value: object) -> object:
    return [value] if isinstance(value, (int, str)) else value


def _once(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        raise ValueError("a name stands there twice")
    return names


def _patterns(intents: dict[str, str]) -> dict[str, str]:
    for name, pattern in intents.items():
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"the pattern of {name!r} is no regular expression ({error.msg})") from None
    return intents


Filled = Annotated[str, Field(pattern=r"\S")]
"""Text that says something."""
Names = Annotated[tuple[str, ...], AfterValidator(_once)]
"""Names, each once."""


class PackMeta(Part):
    """pack.yaml.

    Attributes:
        consent: what the speakers agreed to, in words.
        languages: ISO 639 codes.
        sample_rate_hz: the rates that utterances may have.
        slices: columns of utterances.parquet whose values are slices.
        protected, high_risk: slice names (evalpacks.slices) that gates and reviewers look at one by one.
        min_support: what a protected slice needs (`speakers`, `words`), for people who extend the pack.
        show_transcripts: whether consent and licence let a report show transcripts.
        intents: intent -> regular expression that its whole normalised text matches; named groups are its slots.
    """

    name: Annotated[str, Field(pattern=PACK_NAME)]
    title: Filled
    source: Filled
    licence: Filled
    consent: Filled
    languages: Annotated[tuple[str, ...], BeforeValidator(_many), Field(min_length=1)]
    sample_rate_hz: Annotated[tuple[PositiveInt, ...], BeforeValidator(_many), Field(min_length=1)]
    slices: Names = ()
    protected: Names = ()
    high_risk: Names = ()
    min_support: dict[Literal["speakers", "words"], PositiveInt] = Field(default_factory=dict)
    show_transcripts: bool = False
    intents: Annotated[dict[str, str], AfterValidator(_patterns)] = Field(default_factory=dict)
    notes: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """A whole pack; `utterances` is sorted by utterance_id and is not to be changed."""

    name: str
    digest: Digest
    root: Path
    meta: PackMeta
    utterances: pd.DataFrame
    slices: tuple[str, ...]
    protected: tuple[str, ...]
    high_risk: tuple[str, ...]


def load(root: Path) -> Pack:
    """Read a pack; raises WrongCall where files are missing, Refused where what they say is wrong."""
    import pandas as pd

    for name in (_META_FILE, _TABLE_FILE):
        if not (root / name).is_file():
            raise WrongCall(
                f"an eval pack lacks {name}",
                where=str(root),
                expected=f"{_META_FILE}, {_TABLE_FILE} and audio/",
                next_step="name the folder of a pack, or build the pack again",
            )
    meta = _parse_meta((root / _META_FILE).read_bytes(), where=f"{root.name}/{_META_FILE}")
    try:
        table = pd.read_parquet(root / _TABLE_FILE)
    except (OSError, ValueError) as error:
        raise _refused(meta.name, "is not a Parquet table", got=type(error).__name__) from None
    return assemble(root, meta, table, has_audio=lambda path: (root / path).is_file())


def write(root: Path, meta: Mapping[str, Any], utterances: pd.DataFrame) -> Pack:
    """Write pack.yaml, utterances.parquet and the suite beside the audio below `root`, and load the result."""
    import yaml

    checked = _validated(meta, where=_META_FILE)
    assemble(root, checked, utterances, has_audio=lambda path: (root / path).is_file())
    (root / _META_FILE).write_text(
        yaml.safe_dump(checked.model_dump(mode="json"), sort_keys=False, allow_unicode=True), encoding="utf-8"
    )
    utterances.to_parquet(root / _TABLE_FILE, index=False)
    suite = root / SUITE_FILE
    suite.parent.mkdir(exist_ok=True)
    suite.write_text(json.dumps(suite_of(checked, utterances), indent=2) + "\n", encoding="utf-8")
    return load(root)


def suite_of(meta: PackMeta, utterances: pd.DataFrame) -> suites.Suite:
    """What the utterance table of every pack with this card must satisfy."""
    return suites.pack(
        rates=meta.sample_rate_hz, slices=meta.slices, slice_value=SLICE_VALUE, columns=map(str, utterances.columns)
    )


def assemble(root: Path, meta: PackMeta, utterances: pd.DataFrame, *, has_audio: Callable[[str], bool]) -> Pack:
    """A Pack of parts already in memory; raises Refused for the first thing that is wrong with them."""
    _check_table(meta, utterances)
    _check_audio(meta, utterances, has_audio)
    _check_slices(meta, utterances)
    ordered = utterances.sort_values("utterance_id", ignore_index=True)
    return Pack(
        name=meta.name,
        digest=_digest(meta, ordered),
        root=root,
        meta=meta,
        utterances=ordered,
        slices=meta.slices,
        protected=meta.protected,
        high_risk=meta.high_risk,
    )


class Shared(NamedTuple):
    """Utterances (by utterance_id) and speakers that a pack has in common with training data, sorted."""

    utterances: tuple[str, ...]
    speakers: tuple[str, ...]


def shared(pack: Pack, data_manifest: pd.DataFrame) -> Shared:
    """What training data (columns sha256, speaker) has in common with the pack (R1.2)."""
    table = pack.utterances
    heard = table.loc[table["sha256"].isin(set(data_manifest["sha256"])), "utterance_id"]
    speakers = set(table["speaker"]) & set(data_manifest["speaker"])
    return Shared(tuple(sorted(map(str, heard))), tuple(sorted(map(str, speakers))))


def overlap(pack: Pack, data_manifest: pd.DataFrame) -> list[str]:
    """`shared` in words, a line each; empty: nothing."""
    utterances, speakers = shared(pack, data_manifest)
    return [f"utterance {name} is in the training data" for name in utterances] + [
        f"speaker {name} is in the training data" for name in speakers
    ]


def _digest(meta: PackMeta, ordered: pd.DataFrame) -> Digest:
    import pandas as pd

    optional = [column for column in OPTIONAL_COLUMNS if column in ordered.columns]
    columns = ["utterance_id", "sha256", "text", "speaker", *meta.slices, *optional]
    rows = [["" if pd.isna(value) else str(value) for value in row] for row in ordered[columns].itertuples(index=False)]
    return digest_of({"meta": meta.model_dump(mode="json"), "columns": columns, "utterances": rows})


def _parse_meta(content: bytes, *, where: str) -> PackMeta:
    import yaml

    try:
        value = yaml.safe_load(content)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}" if mark else "not YAML"
        raise Refused("pack.yaml does not parse", where=where, got=line, expected="YAML") from None
    if not isinstance(value, dict):
        raise Refused("pack.yaml is not a mapping", where=where, got=type(value).__name__, expected="field: value")
    return _validated(value, where=where)


def _validated(value: Mapping[str, Any], *, where: str) -> PackMeta:
    try:
        return PackMeta.model_validate(dict(value))
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors(include_input=False)]
        raise Refused(
            "pack.yaml does not describe a pack",
            where=where,
            got="; ".join(faults),
            expected="the fields of evalpacks.pack.PackMeta",
            next_step="correct pack.yaml",
        ) from None


def _refused(pack: str, what: str, *, got: str = "", expected: str = "", where: str = "") -> SoundcheckError:
    return Refused(
        f"the utterance table of pack {pack!r} {what}",
        where=where or _TABLE_FILE,
        got=got,
        expected=expected,
        next_step="build the pack again, or correct the table",
    )


def _check_table(meta: PackMeta, table: pd.DataFrame) -> None:
    missing = [column for column in (*COLUMNS, *meta.slices) if column not in table.columns]
    if missing:
        raise _refused(meta.name, "lacks columns", got="missing: " + ", ".join(missing), expected=", ".join(COLUMNS))
    if table.empty:
        raise _refused(meta.name, "is empty", got="0 utterances", expected="at least one")
    texts = [column for column in COLUMNS if column not in ("duration_s", "sample_rate_hz")]
    for column in (*texts, *meta.slices):
        wrong = ~table[column].map(lambda value: isinstance(value, str) and bool(value.strip()))
        if wrong.any():
            raise _refused(meta.name, f"has an empty {column}", got=_ids(table, wrong), expected="text in every row")
    repeated = table["utterance_id"].duplicated(keep=False)
    if repeated.any():
        raise _refused(meta.name, "repeats an utterance_id", got=_ids(table, repeated), expected="unique ids")
    allowed = ", ".join(map(str, meta.sample_rate_hz))
    rates = ~table["sample_rate_hz"].isin(meta.sample_rate_hz)
    if rates.any():
        found = ", ".join(sorted({str(rate) for rate in table.loc[rates, "sample_rate_hz"]}))
        raise _refused(
            meta.name,
            "has undeclared sample rates",
            got=f"{found} Hz in {_ids(table, rates)}",
            expected=f"{allowed} Hz",
        )
    lengths = ~table["duration_s"].map(lambda value: isinstance(value, float) and 0 < value < float("inf"))
    if lengths.any():
        raise _refused(meta.name, "has a duration that is none", got=_ids(table, lengths), expected="seconds above 0")


def _check_audio(meta: PackMeta, table: pd.DataFrame, has_audio: Callable[[str], bool]) -> None:
    digests = ~table["sha256"].str.match(suites.SHA256)
    if digests.any():
        raise _refused(meta.name, "has a malformed sha256", got=_ids(table, digests), expected="64 hexadecimal digits")
    outside = table["path"].map(lambda path: PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts)
    if outside.any():
        raise _refused(meta.name, "names audio outside the pack", got=_ids(table, outside), expected="audio/NAME.wav")
    absent = ~table["path"].map(has_audio)
    if absent.any():
        raise _refused(meta.name, "names audio that is not there", got=_ids(table, absent), expected="audio/NAME.wav")


def _check_slices(meta: PackMeta, table: pd.DataFrame) -> None:
    for column in meta.slices:
        wrong = ~table[column].str.fullmatch(SLICE_VALUE)
        if wrong.any():
            raise _refused(
                meta.name, f"has a malformed slice value in {column}", got=_ids(table, wrong), expected=SLICE_VALUE
            )
    for field in ("protected", "high_risk"):
        for name in getattr(meta, field):
            unknown = [column for column in slices.parse(name) if column not in meta.slices]
            if unknown:
                raise Refused(
                    f"pack.yaml names a {field} slice of a column that is no slice",
                    where=f"{_META_FILE} of {meta.name}",
                    got=name,
                    expected="columns: " + ", ".join(meta.slices),
                    next_step=f"add the column to slices, or correct {field}",
                )


def _ids(table: pd.DataFrame, wrong: pd.Series[bool]) -> str:
    """How many rows are wrong, and the first few by id; never their text."""
    return counted("row", [str(value) for value in table.loc[wrong, "utterance_id"]])


def counted(noun: str, names: Sequence[str], count: int | None = None) -> str:
    """How many there are (`count`, where not all are named), and the first few by name, fit for a terminal.

    >>> counted("row", ["a"]), counted("row", ["a", "b", "c", "d"])
    ('1 row (a)', '4 rows (a, b, c, ...)')
    """
    count = len(names) if count is None else count
    first = ["".join(sign if sign.isprintable() else "?" for sign in name) for name in names[:_SHOWN]]
    named = f" ({', '.join(first)}{', ...' if count > _SHOWN else ''})" if names else ""
    return f"{count} {noun}{'' if count == 1 else 's'}{named}"
