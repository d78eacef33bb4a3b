"""MLflow as a mirror of the ledger: runs, registered models, versions and aliases that people browse.

Boundary: the only module (with serving/pyfunc.py, which MLflow loads by name) that imports mlflow, and only inside
functions, so that importing this module costs nothing.
Invariants: the mirror is a view that can be rebuilt and never authority (an alias is one row that anybody may
overwrite, fault 35): nothing is decided by what is read here; every write may be repeated and then changes nothing;
whatever MLflow does wrong is DependencyFailed, and the caller goes on. No pickle: a version's model is two small text
files that name the loader module and the bundle.
Source: release-algorithm R2.3 and R9.2.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from contracts.bundle import path_fault
from contracts.digest import Digest, canonical_json, short
from contracts.errors import DependencyFailed, WrongCall
from contracts.registry_entry import RegistryEntry

OURS = "soundcheck."
"""Prefix of the tags that are not fields of the registry contract."""
MODEL = "model"
"""Folder of a run's artifacts that holds the loadable model."""
LOADER = "serving.pyfunc"
NEXT_STEP = "start MLflow with `soundcheck up`; releases and rollbacks go on without it, the ledger has everything"

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
"""Environment of every process that uses MLflow: nothing phones home, nothing chats on the terminal."""
PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
"""Bounds of MLflow's own waiting, whose defaults (7 retries, 120 s each) would hold a release for minutes."""


class Mirror:
    """The ledger as MLflow shows it.

    Args:
        tracking_uri: address of an MLflow server (`http://...`) or of its database (`sqlite:///PATH`).
        store_url: the store that a version's bundle is restored from when MLflow loads it.
    """

    def __init__(self, tracking_uri: str, *, store_url: str = "file://store") -> None:
        self.tracking_uri = tracking_uri.rstrip("/")
        self._store_url = store_url
        self._connected: Any = None

    def register(self, entry: RegistryEntry, *, family: str, release: str) -> str:
        """Create (or find again) the run and the model version of a release; returns the version's number.

        The version's source is the run's folder `model`, which `record` fills once the bundle is known.
        """
        with self._reporting(f"mirror the release {short(release)} of {family}"):
            run = self._find_run(release, [self._experiment(family)]) or self._create_run(entry, family, release)
            return self._version_of(run) or self._create_version(entry, family, release, run)

    def record(
        self,
        release: str,
        *,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
        artifacts: Mapping[str, bytes] | None = None,
    ) -> None:
        """Add what a step found to a registered release.

        Args:
            release: the release id that `register` was given.
            metrics: value by name; characters that MLflow refuses are replaced (`metric_name`).
            tags: short facts, written on run and version as `soundcheck.NAME`; `bundle` (a digest) makes the version
                loadable by `mlflow.pyfunc.load_model`.
            artifacts: file content by relative POSIX path.
        """
        tags = tags or {}
        files = dict(artifacts or {})
        _check_paths(files)
        with self._reporting(f"record what was found for the release {short(release)}"):
            run = self._run(release)
            if "bundle" in tags:
                files |= self._model_files(run, tags["bundle"])
            self._log_numbers(run, metrics or {}, {OURS + name: value for name, value in tags.items()})
            self._log_files(run, files)

    def point(self, family: str, alias: str, release: str | None) -> None:
        """Set an alias to a release's version, or remove it (None)."""
        with self._reporting(f"move the alias {alias!r} of {family}"):
            if release is None:
                if self._aliased(family, alias):
                    self._client().delete_registered_model_alias(family, alias)
                return
            version = self._version_of(self._run(release))
            self._client().set_registered_model_alias(family, alias, version)

    def differences(self, family: str, stable_bundle: Digest | None) -> list[str]:
        """Where MLflow's `stable` is not the bundle that the family's pointer names; empty when they agree."""
        with self._reporting(f"compare the alias 'stable' of {family}"):
            version = self._aliased(family, "stable")
        named = version.tags.get(f"{OURS}bundle") if version else None
        if named == stable_bundle and (version is None) == (stable_bundle is None):
            return []
        shown = f"is version {version.version} with {_name(named)}" if version else "does not exist"
        pointer = f"names {_name(stable_bundle)}" if stable_bundle else "has no stable bundle"
        return [f"MLflow's alias 'stable' of {family} {shown}, but the pointer of {family} {pointer}"]

    def address(self, family: str, version: str) -> str:
        """Where a person sees a model version: a page of the MLflow server, or its `models:` address."""
        if self.tracking_uri.startswith("http"):
            return f"{_without_credentials(self.tracking_uri)}/#/models/{family}/versions/{version}"
        return f"models:/{family}/{version}"

    def _client(self) -> Any:
        if self._connected is None:
            os.environ.update(QUIET)
            for name, value in PATIENCE.items():
                os.environ.setdefault(name, value)
            from mlflow import MlflowClient

            self._connected = MlflowClient(tracking_uri=self.tracking_uri, registry_uri=self.tracking_uri)
        return self._connected

    @contextmanager
    def _reporting(self, intent: str) -> Iterator[None]:
        """Turn every way in which MLflow can fail into one DependencyFailed."""
        try:
            _reach(self.tracking_uri)
            self._client()
            from mlflow.exceptions import MlflowException
            from sqlalchemy.exc import SQLAlchemyError
        except (OSError, sqlite3.Error, ImportError) as error:
            raise self._failure(intent, error) from error
        try:
            yield
        except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
            raise self._failure(intent, error) from error

    def _failure(self, intent: str, error: Exception) -> DependencyFailed:
        first_line = (str(error) or type(error).__name__).splitlines()[0][:300]
        where = _without_credentials(self.tracking_uri)
        return DependencyFailed(
            f"MLflow could not {intent}",
            where=where,
            got=first_line.replace(self.tracking_uri, where),
            next_step=NEXT_STEP,
        )

    def _experiment(self, family: str) -> str:
        client = self._client()
        found = client.get_experiment_by_name(family)
        if found is None:
            database = _sqlite_path(self.tracking_uri)
            location = str(database.parent / "artifacts" / family) if database else None
            return str(client.create_experiment(family, artifact_location=location))
        if found.lifecycle_stage == "deleted":
            client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def _find_run(self, release: str, experiments: list[str]) -> Any:
        if not re.fullmatch(r"[\w.:-]+", release):
            raise WrongCall("not a release id", where="MLflow mirror", got=repr(release), expected="a digest")
        found = self._client().search_runs(
            experiments, filter_string=f"tags.`{OURS}release` = '{release}'", max_results=1
        )
        return found[0] if found else None

    def _run(self, release: str) -> Any:
        run = self._find_run(release, [experiment.experiment_id for experiment in self._client().search_experiments()])
        if run is None:
            raise DependencyFailed(
                f"MLflow has no run of the release {short(release)}",
                where=_without_credentials(self.tracking_uri),
                expected="a run that was created when the release was registered",
                next_step=NEXT_STEP,
            )
        return run

    def _create_run(self, entry: RegistryEntry, family: str, release: str) -> Any:
        tags = _tags(entry, release) | {f"{OURS}family": family}
        run = self._client().create_run(
            self._experiment(family), tags=tags, run_name=f"{entry.version} {short(release)}"
        )
        self._client().set_terminated(run.info.run_id)
        return run

    def _version_of(self, run: Any) -> str | None:
        found = self._client().search_model_versions(f"run_id = '{run.info.run_id}'")
        return str(found[0].version) if found else None

    def _create_version(self, entry: RegistryEntry, family: str, release: str, run: Any) -> str:
        client = self._client()
        if not client.search_registered_models(f"name = '{family}'"):
            client.create_registered_model(family, description=f"{entry.task}; owner: {entry.owner}")
        version = client.create_model_version(
            family,
            source=f"{run.info.artifact_uri}/{MODEL}",
            run_id=run.info.run_id,
            tags=_tags(entry, release),
            description=f"{entry.version}: {entry.base_model}",
            await_creation_for=0,
        )
        return str(version.version)

    def _aliased(self, family: str, alias: str) -> Any:
        from mlflow.exceptions import MlflowException

        try:
            return self._client().get_model_version_by_alias(family, alias)
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return None
            raise

    def _log_numbers(self, run: Any, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """Metrics and tags. Metrics carry the run's own start time, so that recording again adds no second point."""
        from mlflow.entities import Metric, RunTag

        client, run_id = self._client(), run.info.run_id
        points = [Metric(metric_name(name), value, run.info.start_time, 0) for name, value in metrics.items()]
        for start in range(0, len(points), 1000):
            client.log_batch(run_id, metrics=points[start : start + 1000])
        if tags:
            client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])
        version = self._version_of(run)
        for name, value in tags.items() if version else ():
            client.set_model_version_tag(run.data.tags[f"{OURS}family"], version, name, value)

    def _log_files(self, run: Any, files: Mapping[str, bytes]) -> None:
        if not files:
            return
        with tempfile.TemporaryDirectory() as folder:
            for path, content in files.items():
                target = Path(folder, path)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
            self._client().log_artifacts(run.info.run_id, folder)

    def _model_files(self, run: Any, bundle: Digest) -> dict[str, bytes]:
        """A loadable model: `MLmodel` names the loader module, `bundle.json` the bundle and its store."""
        import mlflow

        model = {
            "artifact_path": MODEL,
            "flavors": {"python_function": {"loader_module": LOADER, "data": "bundle.json"}},
            "mlflow_version": mlflow.__version__,
            "model_uuid": bundle[:32],
            "run_id": run.info.run_id,
            "utc_time_created": _utc(run.info.start_time),
        }
        named = {"bundle": bundle, "family": run.data.tags[f"{OURS}family"], "store": self._store_url}
        return {
            f"{MODEL}/MLmodel": json.dumps(model, indent=1).encode(),  # JSON is YAML
            f"{MODEL}/bundle.json": canonical_json(named),
        }


def metric_name(name: str) -> str:
    """A name that MLflow takes: `wer/accent=us&noise=5db` becomes `wer/accent:us noise:5db`.

    Other characters become `_` and their code point in hexadecimal, so that names which differ there stay apart.
    """
    plain = name.replace("=", ":").replace("&", " ")
    return re.sub(r"[^A-Za-z0-9_\-./ :]", lambda match: f"_{ord(match[0]):02x}", plain)


def prepare_database(path: Path) -> None:
    """Make sure that MLflow's SQLite file can be written; raises sqlite3.Error or OSError at once where it cannot.

    A new file gets a write-ahead log: MLflow's first start commits some hundred small migrations, and each costs
    several syncs without one. MLflow itself would try a broken file ten times, for over a minute.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=5, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    finally:
        connection.close()


def _reach(uri: str) -> None:
    """Fail at once where nobody listens or the database cannot be written: a rollback may not wait for retries."""
    if database := _sqlite_path(uri):
        prepare_database(database)
    elif uri.startswith("http"):
        parts = urlsplit(uri)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname or "", port), timeout=3).close()


def _sqlite_path(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///")).absolute() if uri.startswith("sqlite:///") else None


def _tags(entry: RegistryEntry, release: str) -> dict[str, str]:
    """Every field of the contract as text, and the two names that the ledger knows it by."""
    tags = {f"{OURS}release": release, f"{OURS}payload": entry.payload_digest}
    for name, value in entry.model_dump(mode="json").items():
        tags[name] = value if isinstance(value, str) else canonical_json(value).decode()
    return tags


def _check_paths(files: Mapping[str, bytes]) -> None:
    for path in files:
        if fault := path_fault(path):
            raise WrongCall(f"an artifact's path {fault}", where="MLflow mirror", got=repr(path))


def _without_credentials(uri: str) -> str:
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _utc(milliseconds: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


def _name(bundle: str | None) -> str:
    return f"bundle {short(bundle)}" if bundle else "no bundle"
