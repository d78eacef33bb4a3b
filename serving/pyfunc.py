"""A bundle as an MLflow model: MLflow calls this module by name, so that nothing is unpickled.

Boundary: reads the small `bundle.json` of a model version, restores the bundle it names from the store into the local
cache, and runs the bundle's own runtime. `SOUNDCHECK_HOME` (else `.soundcheck`) is where the store and the cache lie;
`SOUNDCHECK_STORE` stands in for the store's address.
Invariants: what answers is the bundle whose digest the version names, verified file by file; audio at a rate the
feature contract does not name is refused (R6.2), as by the API.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contracts.errors import Corrupt, WrongCall
from contracts.feature_contract import FeatureContract

if TYPE_CHECKING:
    import pandas as pd

COLUMN = "audio"
"""Column of the input: bytes of an audio file, or its path."""


class BundleModel:
    """A restored bundle's payload, loaded by its own runtime."""

    def __init__(self, payload: Path) -> None:
        from speech.runtimes import load

        contract = payload / "feature_contract.json"
        self._contract = FeatureContract.parse(contract.read_bytes(), where=str(contract))
        self._runtime = load(payload)

    def predict(self, model_input: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002
        """Transcribe the column `audio`, bytes of audio files or paths; a table (rows,) with `text` and `confidence`.

        Raises WrongCall for a table without that column, and for a row that is not audio the model accepts.
        """
        import pandas as pd

        if COLUMN not in model_input:
            raise WrongCall(
                "the input has no audio",
                where="the columns of the table",
                got=", ".join(map(str, model_input.columns)) or "none",
                expected=f"{COLUMN!r}: bytes of WAV files, or their paths",
            )
        rows = [self._transcribe(value, row) for row, value in enumerate(model_input[COLUMN])]
        return pd.DataFrame(rows, columns=["text", "confidence"], index=model_input.index)

    def _transcribe(self, value: object, row: int) -> tuple[str, float | None]:
        from serving.audio import decode
        from serving.link import ServingFailure

        where = f"row {row} of the column {COLUMN!r}"
        try:
            content = bytes(value) if isinstance(value, bytes | bytearray) else Path(str(value)).read_bytes()
            samples = decode(content, self._contract).samples
        except ServingFailure as failure:
            raise WrongCall("the model cannot hear this", where=where, got=failure.message) from None
        except OSError as error:
            raise WrongCall("the audio cannot be read", where=where, got=error.strerror or "no such file") from None
        transcript = self._runtime.transcribe(samples)
        return transcript.text, transcript.confidence


def _load_pyfunc(path: str) -> BundleModel:
    """MLflow's entry: `path` is the model's `bundle.json` with the bundle's digest and its store's address."""
    from registry.bundle import cached
    from registry.store import open_store

    try:
        named = json.loads(Path(path).read_bytes())
        bundle, address = str(named["bundle"]), str(named["store"])
    except (ValueError, KeyError, TypeError) as error:
        raise Corrupt("a model version does not say which bundle it is", where=path, got=str(error)) from None
    home = Path(os.environ.get("SOUNDCHECK_HOME", ".soundcheck")).resolve()
    store = open_store(os.environ.get("SOUNDCHECK_STORE", address), home)
    return BundleModel(cached(store, bundle, home / "cache") / "payload")
