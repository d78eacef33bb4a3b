"""What a family of one's own needs beside its model: recordings with a table, an eval pack, a candidate folder.

Boundary: writes below data/ and candidates/ of the working folder, which is the project's; asks git for the commit.
Invariants: a folder appears whole or not at all; the same clips and payload give the same bytes; the payload's contract
says what its front end is, so that register and staging can compare (R2.2, R6.2).
Source: release-algorithm R1, R2; docs/packs.md.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import yaml

import evalpacks.pack
from contracts.digest import canonical_json, digest_of
from contracts.errors import Refused
from contracts.feature_contract import FeatureContract
from evalpacks.packs.making import audio_columns, whole_folder
from speech.runtimes import Samples
from speech.weights import check_payload

if TYPE_CHECKING:
    import pandas

LANGUAGE = "en"


class Clip(NamedTuple):
    """A recording and what is known of it.

    Attributes:
        utterance_id: unique; its file is `audio/ID.wav`.
        samples: (samples,) in [-1, 1].
        text: what is said, or the class of the clip.
        speaker: a pseudonym, the same wherever a person speaks; nobody of an eval pack may be in training data (R1.2).
        columns: slice columns, and others that the pack's task asks for (docs/packs.md).
    """

    utterance_id: str
    samples: Samples
    text: str
    speaker: str
    columns: Mapping[str, Any] = {}


def family_of(package: str) -> str:
    """The family of a package below families/: `families.door_bell` is `door-bell`.

    >>> family_of("families.door_bell")
    'door-bell'
    """
    return package.rpartition(".")[2].replace("_", "-")


def record(clips: Iterable[Clip], rate_hz: int, folder: Path) -> pandas.DataFrame:
    """Write `audio/ID.wav` of every clip below `folder`; one row a clip, with the columns of a pack's table."""
    import pandas
    import soundfile

    rows = []
    for clip in clips:
        sound = np.clip(clip.samples, -1, 1)
        soundfile.write(folder / f"audio/{clip.utterance_id}.wav", sound, rate_hz, subtype="PCM_16")
        known = {"text": clip.text, "speaker": clip.speaker, "language": LANGUAGE, **clip.columns}
        rows.append({**audio_columns(folder, clip.utterance_id), **known})
    return pandas.DataFrame(rows)


def pack(name: str, clips: Iterable[Clip], rate_hz: int, **card: Any) -> evalpacks.pack.Pack:
    """Make the eval pack data/packs/NAME; `card` are fields of evalpacks.pack.PackMeta.

    Raises Refused for what is no pack.
    """
    target = Path("data/packs") / name
    with whole_folder(target) as folder:
        table = record(clips, rate_hz, folder)
        known = {"name": name, "title": name, "languages": [LANGUAGE], "sample_rate_hz": [rate_hz]}
        evalpacks.pack.write(folder, {**known, **card}, table)
    return evalpacks.pack.load(target)


def training_data(family: str, version: str, clips: Iterable[Clip], rate_hz: int, *, licence: str) -> pandas.DataFrame:
    """Keep a version's training clips in data/corpus/FAMILY/VERSION.

    Returns:
        Its data manifest: one row a clip, which R1 compares with every pack.
    """
    with whole_folder(Path("data/corpus") / family / version) as folder:
        table = record(clips, rate_hz, folder)
    return table.assign(split="train", licence=licence)


def candidate(
    package: str,
    version: str,
    payload: Mapping[str, bytes],
    *,
    rate_hz: int,
    about: str,
    licence: str,
    training: pandas.DataFrame | None = None,
    front_end: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Path:
    """Write the candidate folder candidates/FAMILY/VERSION, in place of one that is there.

    Args:
        package: of the family, as `__package__` says it in its modules; also the engine's name.
        version: of the candidate.
        payload: what the engine reads, by path: safetensors, ONNX, JSON or UTF-8 text.
        rate_hz: of what the model hears or says.
        about: the model card, Markdown: what it is for, what it was trained on, what it is bad at.
        licence: of the model, an SPDX name.
        training: the data manifest; None for a model that is not trained on data of yours, which leaves leakage
            inconclusive (R1.5) and needs a waiver in params.yaml.
        front_end: what turns audio into features, where the engine has settings of it.
        fields: of candidate.yaml over those made here: hyperparameters, seeds, base_model, notes, ...

    Raises:
        Refused: a file of the payload is of no format that may be released.
    """
    family = family_of(package)
    heard = {"engine": package, "sample_rate_hz": rate_hz, **(front_end or {})}
    contract = FeatureContract(
        sample_rate_hz=rate_hz, accepted_rates_hz=(rate_hz,), normalisation="the engine's own", text_normalizer="none",
        tokenizer="none", front_end_checksum=digest_of(heard),
    )  # fmt: skip
    described = {
        "family": family, "version": version, "origin": "third_party" if training is None else "own",
        "base_model": "none", "licence": licence, "languages": [LANGUAGE], "training_code_sha": _commit(),
    }  # fmt: skip
    made = {
        "runtime.json": canonical_json({"engine": package}), "front_end.json": canonical_json(heard),
        "feature_contract.json": contract.canonical(),
    }  # fmt: skip
    target = Path("candidates") / family / version
    with whole_folder(target) as folder:
        (folder / "audio").rename(folder / "payload")  # what the folder was made with
        for path, content in {**payload, **made}.items():
            (folder / "payload" / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / "payload" / path).write_bytes(content)
        (folder / "candidate.yaml").write_text(yaml.safe_dump({**described, **fields}, sort_keys=False))
        (folder / "MODEL_CARD.md").write_text(f"# {family} {version}\n\n{about}\n")
        if training is not None:
            training.to_parquet(folder / "data_manifest.parquet", index=False)
        check_payload(folder / "payload")
    return target


def _commit() -> str:
    """The commit that is checked out; Refused outside of git, where a release could not say what made it."""
    try:
        return subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        raise Refused(
            "the code that makes the candidate is in no commit",
            where=str(Path.cwd()),
            expected="a git work tree with a commit",
            next_step="git init, git add, git commit, and make the candidate again",
        ) from None
