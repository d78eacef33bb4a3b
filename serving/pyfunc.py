"""A bundle as an MLflow model: MLflow calls this module by name, so that nothing is unpickled.

Boundary: reads the small `bundle.json` of a model version, restores the bundle it names from the store into the local
cache, and runs the bundle's own runtime. `SOUNDCHECK_HOME` (else `.soundcheck`) is where the store and the cache lie;
`SOUNDCHECK_STORE` is the store's address where it is not below that folder.
Invariants: what answers is the bundle whose digest the version names, verified file by file as it is loaded, and known
to its family's ledger (MLflow is believed in nothing, fault 54); audio at a rate the feature contract does not name is
refused (R6.2), as by the API.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from contracts.digest import Digest, short
from contracts.errors import Corrupt, Refused, WrongCall
from contracts.feature_contract import FeatureContract
from contracts.policy import Task
from serving.payload import private_copy

if TYPE_CHECKING:
    import pandas as pd

    from registry.store import Store
    from speech.runtimes import Samples

COLUMN = "audio"
"""Column of the input: bytes of an audio file, or its path."""
TEXT = "text"
"""Column of the input of a synthesis: what is to be said."""
EXPECTED = {COLUMN: f"{COLUMN!r}: bytes of WAV files, or their paths", TEXT: f"{TEXT!r}: what is to be said"}
COLUMNS: dict[Task, list[str]] = {
    "transcription": ["text", "confidence"],
    "synthesis": ["audio"],
    "embedding": ["embedding", "space"],
    "classification": ["label", "scores"],
}
"""What comes back, by task."""
META = "registered_model_meta"
"""File that MLflow leaves beside a model that it loads by the name of a version."""


class BundleModel:
    """A restored bundle's payload, loaded by its own runtime, with the digests that its manifest names (fault 28)."""

    def __init__(self, payload: Path, digests: Mapping[str, Digest]) -> None:
        """Raises Refused for an assistant: turns of a dialogue are no rows of a table."""
        from speech.runtimes import load_model
        from speech.runtimes.kinds import task_of

        self._copy = TemporaryDirectory(prefix="soundcheck-")  # an engine may read or map its files for as long
        own = private_copy(payload, digests, Path(self._copy.name) / "payload")
        contract = own / "feature_contract.json"
        self._contract = FeatureContract.parse(contract.read_bytes(), where=str(contract))
        self._model: Any = load_model(own)
        self._task = task_of(self._model)
        if self._task == "dialogue":
            raise Refused(
                "an assistant cannot be asked by a table",
                got="a model that holds dialogues",
                expected="a model that answers a recording or a text",
                next_step="ask it at the WebSocket /v1/assistant",
            )

    def predict(self, model_input: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002
        """Answer a table's rows in order; the columns are those of the model's task.

        A transcription, an embedding and a classification take `audio`, bytes of audio files or paths, and give `text`
        and `confidence`, `embedding` (a list) and `space`, or `label` and `scores` (by class); a synthesis takes `text`
        and gives `audio`, bytes of WAV files. Raises WrongCall for a table without its column, and for a row that is
        not audio the model accepts.
        """
        import pandas as pd

        column = TEXT if self._task == "synthesis" else COLUMN
        if column not in model_input:
            raise WrongCall(
                f"the input has no {column}",
                where="the columns of the table",
                got=", ".join(map(str, model_input.columns)) or "none",
                expected=EXPECTED[column],
            )
        rows = [self._answer(value, row) for row, value in enumerate(model_input[column])]
        return pd.DataFrame(rows, columns=COLUMNS[self._task], index=model_input.index)

    def _answer(self, value: object, row: int) -> tuple[object, ...]:
        if self._task == "synthesis":
            from serving.encoding import whole

            samples = np.concatenate(list(self._model.speak(str(value))))
            return (whole("wav", samples, self._model.sample_rate_hz),)
        samples = self._samples(value, row)
        if self._task == "embedding":
            return self._model.embed(samples).tolist(), self._model.space
        if self._task == "classification":
            found = self._model.classify(samples)
            return found.label, dict(zip(self._model.classes, found.scores, strict=True))
        transcript = self._model.transcribe(samples)
        return transcript.text, transcript.confidence

    def _samples(self, value: object, row: int) -> Samples:
        from serving.audio import decode
        from serving.link import ServingFailure

        where = f"row {row} of the column {COLUMN!r}"
        try:
            content = bytes(value) if isinstance(value, bytes | bytearray) else Path(str(value)).read_bytes()
            return decode(content, self._contract).samples
        except ServingFailure as failure:
            raise WrongCall("the model cannot hear this", where=where, got=failure.message) from None
        except OSError as error:
            raise WrongCall("the audio cannot be read", where=where, got=error.strerror or "no such file") from None


class _Named(NamedTuple):
    """What `bundle.json` says."""

    bundle: Digest
    family: str
    store: str
    version: int


def _load_pyfunc(path: str) -> BundleModel:
    """MLflow's entry: `path` is the model's `bundle.json`.

    Raises Refused where it leads anywhere but to a bundle that the family's own ledger, in the installation's own
    store, says was packaged and never condemned (fault 54); Corrupt where it says nothing.
    """
    from registry.bundle import cached_bundle
    from registry.store import open_store

    named = _named(Path(path))
    _check_place(named, Path(path).with_name(META))
    home = Path(os.environ.get("SOUNDCHECK_HOME", ".soundcheck")).resolve()
    store = open_store(_store(named.store), home)
    _check_known(named, store)
    folder, manifest = cached_bundle(store, named.bundle, home / "cache")
    return BundleModel(folder / "payload", {path: entry.sha256 for path, entry in manifest.payload().items()})


def _named(path: Path) -> _Named:
    try:
        named = json.loads(path.read_bytes())
        found = _Named(str(named["bundle"]), str(named["family"]), str(named["store"]), int(named["version"]))
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt("a model version does not say which bundle it is", where=path.name, got=str(error)) from None
    if not re.fullmatch("[0-9a-f]{64}", found.bundle):
        raise Corrupt("a model version does not name a bundle", where=path.name, expected="the digest of a manifest")
    return found


def _check_place(named: _Named, meta: Path) -> None:
    """MLflow writes beside the model which version it was asked for: that, and no other, must be what lies here."""
    if not meta.is_file():  # loaded by path, not by a version's name: nobody has claimed anything
        return
    import yaml

    asked = yaml.safe_load(meta.read_bytes())
    name, number = str(asked["model_name"]), int(asked["model_version"])
    if (name, number) != (named.family, named.version):
        raise Refused(
            "the source of a model version points elsewhere",
            where=f"version {number} of {name} in MLflow",
            got=f"the model of version {named.version} of {named.family}",
            expected="the folder `model` of the version's own run",
            next_step=f"soundcheck mirror check {name}, then soundcheck mirror rebuild {name}",
        )


def _store(address: str) -> str:
    """The store to restore from: the installation's own, whatever MLflow says."""
    own = os.environ.get("SOUNDCHECK_STORE")
    if own or _below_home(address):
        return own or address
    raise Refused(
        "a model version names a store that this installation does not know",
        where="the MLflow version's bundle.json",
        got=address,
        expected="a store below SOUNDCHECK_HOME, or the one that SOUNDCHECK_STORE names",
        next_step="set SOUNDCHECK_STORE to the store you trust",
    )


def _below_home(address: str) -> bool:
    folder = PurePosixPath(address.removeprefix("file://"))
    return address.startswith("file://") and not folder.is_absolute() and ".." not in folder.parts


def _check_known(named: _Named, store: Store) -> None:
    from registry.ledger import Ledger

    state = Ledger(store, named.family).state()
    if named.bundle in state.packaged and named.bundle not in state.condemned:
        return
    raise Refused(
        "a model version names a bundle that may not be loaded",
        where=f"version {named.version} of {named.family} in MLflow",
        got=f"bundle {short(named.bundle)}, "
        + ("which is condemned" if named.bundle in state.condemned else "which its ledger does not have"),
        expected=f"a bundle that the ledger of {named.family} says was packaged",
        next_step=f"soundcheck mirror check {named.family}; load a bundle that `soundcheck status` shows",
    )
