"""MLflow as a mirror of the ledger: runs, registered models, versions and aliases that people browse.

Boundary: with registry/mlflow_connection.py and serving/pyfunc.py (which MLflow loads by name) the only modules that
import mlflow, and only inside functions, so that importing this module costs nothing.
Invariants: the mirror is a view that can be rebuilt and never authority (an alias is one row that anybody may
overwrite, fault 35): nothing is decided by what is read here; every write may be repeated and then changes nothing;
whatever MLflow does wrong is DependencyFailed, and the caller goes on. No pickle: a version's model is two small text
files that name the loader module and the bundle.
Source: release-algorithm R2.3 and R9.2.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from contracts.bundle import path_fault
from contracts.digest import Digest, sha256_file, short
from contracts.errors import DependencyFailed, WrongCall
from contracts.registry_entry import RegistryEntry
from registry.mirrored import (
    BUNDLE_TAG,
    MODEL,
    OURS,
    FamilyView,
    Version,
    contract_tags,
    metric_name,
    milliseconds,
    model_files,
    name_of,
)
from registry.mlflow_connection import NEXT_STEP, UNKNOWN, Connection, sqlite_path

META = "registered_model_meta"
"""File that MLflow itself leaves in a model's folder when it has loaded it."""


class Mirror:
    """The ledger as MLflow shows it.

    Args:
        tracking_uri: address of an MLflow server (`http://...`) or of its database (`sqlite:///PATH`).
        store_url: the store that a version's bundle is restored from when MLflow loads it.
    """

    def __init__(self, tracking_uri: str, *, store_url: str = "file://store") -> None:
        self._connection = Connection(tracking_uri)
        self.tracking_uri = self._connection.uri
        self._store_url = store_url
        self._reporting = self._connection.reporting

    def register(self, entry: RegistryEntry, *, family: str, release: str, at: str | None = None) -> str:
        """Create (or find again) the run and the model version of a release; returns the version's number.

        The version's source is the run's folder `model`, which `record` fills once the bundle is known. `at` is when
        the release was registered (ISO 8601), the run's start; now where it is not given.
        """
        with self._reporting(f"mirror the release {short(release)} of {family}"):
            run = self._find_run(release, [self._experiment(family)]) or self._create_run(entry, family, release, at)
            number = self._version_of(run) or self._create_version(entry, family, release, run)
            wanted = contract_tags(entry, family, release)
            self._log_tags(run, {name: text for name, text in wanted.items() if run.data.tags.get(name) != text})
            return number

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
            self._log_files(run, files)
            self._log_numbers(run, metrics or {}, {OURS + name: value for name, value in tags.items()})

    def point(self, family: str, alias: str, release: str | None) -> None:
        """Set an alias to a release's version, or remove it (None)."""
        with self._reporting(f"move the alias {alias!r} of {family}"):
            now = self._aliased(family, alias)
            if release is None:
                if now:
                    self._client().delete_registered_model_alias(family, alias)
                return
            version = self._version_of(self._run(release))
            if now is None or str(now.version) != version:
                self._client().set_registered_model_alias(family, alias, version)

    def tags(self, family: str) -> dict[str, dict[str, str]]:
        """The tags of every run of a family, by release: how far the mirror has come."""
        with self._reporting(f"read the runs of {family}"):
            runs = self._client().search_runs([self._experiment(family)], max_results=10_000)
            return {run.data.tags[f"{OURS}release"]: dict(run.data.tags) for run in runs}

    def read(self, family: str, on_progress: Callable[[int, int], None] = lambda _done, _total: None) -> FamilyView:
        """All that MLflow shows of a family: versions, tags, metrics, the digest of every artifact, aliases."""
        with self._reporting(f"show what it has of {family}"):
            found = sorted(self._client().search_model_versions(f"name = '{family}'"), key=lambda one: int(one.version))
            versions = {}
            for done, version in enumerate(found):
                on_progress(done, len(found))
                versions[int(version.version)] = self._read_version(version)
            on_progress(len(found), len(found))
            return FamilyView(versions=versions, aliases=self._aliases(family))

    def forget(self, family: str) -> None:
        """Delete the family's registered model and runs, so that it can be written anew with the numbers it had."""
        with self._reporting(f"forget {family}"):
            client = self._client()
            if client.search_registered_models(f"name = '{family}'"):
                client.delete_registered_model(family)
            for run in client.search_runs([self._experiment(family)], max_results=10_000):
                client.delete_run(run.info.run_id)

    def differences(self, family: str, stable_bundle: Digest | None) -> list[str]:
        """Where MLflow's `stable` is not the bundle that the family's pointer names; empty when they agree.

        A server is asked without importing mlflow, so that `soundcheck status` answers at once.
        """
        with self._reporting(f"compare the alias 'stable' of {family}"):
            found = self._glance(family, "stable")
        named = found[1] if found else None
        if named == stable_bundle and (found is None) == (stable_bundle is None):
            return []
        shown = f"is version {found[0]} with {name_of(named)}" if found else "does not exist"
        pointer = f"names {name_of(stable_bundle)}" if stable_bundle else "has no stable bundle"
        return [f"MLflow's alias 'stable' of {family} {shown}, but the pointer of {family} {pointer}"]

    def address(self, family: str, version: str) -> str:
        """Where a person sees a model version: a page of the MLflow server, or its `models:` address."""
        if self.tracking_uri.startswith("http"):
            return f"{self._connection.shown}/#/models/{family}/versions/{version}"
        return f"models:/{family}/{version}"

    def _client(self) -> Any:
        return self._connection.client()

    def _experiment(self, family: str) -> str:
        client = self._client()
        found = client.get_experiment_by_name(family)
        if found is None:
            database = sqlite_path(self.tracking_uri)
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
                where=self._connection.shown,
                expected="a run that was created when the release was registered",
                next_step=NEXT_STEP,
            )
        return run

    def _create_run(self, entry: RegistryEntry, family: str, release: str, at: str | None) -> Any:
        started_ms = milliseconds(at) if at else None
        run = self._client().create_run(
            self._experiment(family),
            start_time=started_ms,
            tags=contract_tags(entry, family, release),
            run_name=f"{entry.version} {short(release)}",
        )
        self._client().set_terminated(run.info.run_id, end_time=started_ms)
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
            source=_source(run),
            run_id=run.info.run_id,
            tags=contract_tags(entry, family, release),
            description=f"{entry.version}: {entry.base_model}",
            await_creation_for=0,
        )
        return str(version.version)

    def _aliased(self, family: str, alias: str) -> Any:
        from mlflow.exceptions import MlflowException

        try:
            return self._client().get_model_version_by_alias(family, alias)
        except MlflowException as error:
            if error.error_code in UNKNOWN:
                return None
            raise

    def _aliases(self, family: str) -> dict[str, int]:
        """Every alias; MLflow 3.17 lists them with the model, not with what a search returns."""
        if not self._client().search_registered_models(f"name = '{family}'"):
            return {}
        return {name: int(number) for name, number in self._client().get_registered_model(family).aliases.items()}

    def _glance(self, family: str, alias: str) -> tuple[str, Digest | None] | None:
        """Number and bundle of the version at an alias."""
        if not self.tracking_uri.startswith("http"):
            version = self._aliased(family, alias)
            return (str(version.version), version.tags.get(BUNDLE_TAG)) if version else None
        answer = self._connection.glance("registered-models/alias", name=family, alias=alias)
        if answer is None:
            return None
        tags = {tag["key"]: tag["value"] for tag in answer["model_version"].get("tags", [])}
        return str(answer["model_version"]["version"]), tags.get(BUNDLE_TAG)

    def _read_version(self, version: Any) -> Version:
        """A version with its run; a run that is gone leaves the version's tags and a fault."""
        from mlflow.exceptions import MlflowException

        own = _without_mlflows(version.tags)
        try:
            run = self._client().get_run(version.run_id)
        except MlflowException as error:
            if error.error_code not in UNKNOWN:
                raise
            return Version(tags=own, faults=("has no run",))
        tags = _without_mlflows(run.data.tags)
        faults = []
        if run.info.lifecycle_stage == "deleted":
            faults.append("has a run that was deleted")
        if version.source != _source(run):
            faults.append(f"points to {version.source}, which is not its own run's model")
        differing = sorted(name for name in own.keys() | tags.keys() if own.get(name) != tags.get(name))
        if differing:
            faults.append(f"has other tags than its run: {', '.join(differing)}")
        return Version(
            tags=own, metrics=dict(run.data.metrics), artifacts=self._digests(version.run_id), faults=tuple(faults)
        )

    def _digests(self, run_id: str) -> dict[str, Digest]:
        if not self._client().list_artifacts(run_id):
            return {}
        with tempfile.TemporaryDirectory() as folder:
            root = Path(self._client().download_artifacts(run_id, "", folder))
            files = (path for path in root.rglob("*") if path.is_file() and path.name != META)
            return {path.relative_to(root).as_posix(): sha256_file(path) for path in files}

    def _log_numbers(self, run: Any, metrics: Mapping[str, float], tags: Mapping[str, str]) -> None:
        """Metrics and tags. Metrics carry the run's own start time, so that recording again adds no second point."""
        from mlflow.entities import Metric

        client, run_id = self._client(), run.info.run_id
        points = [Metric(metric_name(name), value, run.info.start_time, 0) for name, value in metrics.items()]
        for start in range(0, len(points), 1000):
            client.log_batch(run_id, metrics=points[start : start + 1000])
        self._log_tags(run, tags)

    def _log_tags(self, run: Any, tags: Mapping[str, str]) -> None:
        """Tags of the version, then those of the run: what the run says was written is written."""
        from mlflow.entities import RunTag

        version = self._version_of(run) if tags else None
        for name, value in tags.items() if version else ():
            self._client().set_model_version_tag(run.data.tags[f"{OURS}family"], version, name, value)
        if tags:
            self._client().log_batch(run.info.run_id, tags=[RunTag(name, value) for name, value in tags.items()])

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
        return model_files(
            bundle=bundle,
            family=run.data.tags[f"{OURS}family"],
            number=int(self._version_of(run) or 0),
            store_url=self._store_url,
            created_ms=run.info.start_time,
        )


def _source(run: Any) -> str:
    return f"{run.info.artifact_uri}/{MODEL}"


def _without_mlflows(tags: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in tags.items() if not name.startswith("mlflow.")}


def _check_paths(files: Mapping[str, bytes]) -> None:
    for path in files:
        if fault := path_fault(path):
            raise WrongCall(f"an artifact's path {fault}", where="MLflow mirror", got=repr(path))
