"""MLflow on a real PostgreSQL: the same mirror; a database that is read-only, gone or unknown is told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from contracts.errors import DependencyFailed, WrongCall
from contracts.policy import Ports
from operations import stack
from operations.stack_parts import free_port
from registry.mlflow_connection import database_url
from registry.mlflow_mirror import Mirror
from tests.registry.registry_parts import registry_entry
from tests.servers import postgresql

needs_postgresql = pytest.mark.skipif(postgresql.program("initdb") is None, reason=postgresql.MISSING)
FAMILY = "asr-en"
RELEASES = ("a1" * 32, "a2" * 32)


class Served(NamedTuple):
    """A mirror through an MLflow server whose database is a PostgreSQL cluster."""

    mirror: Mirror
    cluster: postgresql.Cluster


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("mlflow-postgresql")
    ports = Ports(prefect=free_port(), mlflow=free_port(), gateway=free_port())
    with postgresql.running() as cluster:
        try:
            found = stack.start(home, ports, parts=["mlflow"], mlflow_backend=cluster.url)
            assert not (home / "mlflow" / "mlflow.db").exists()
            yield Served(Mirror(str(found.mlflow)), cluster)
        finally:
            stack.stop(home)


@needs_postgresql
def test_versions_figures_files_and_aliases_are_shown(served: Served) -> None:
    mirror = served.mirror
    for release in RELEASES:
        mirror.register(registry_entry(), family=FAMILY, release=release, at="2026-01-01T00:00:00.123Z")
        mirror.record(
            release, metrics={"wer/commands/accent=us": 0.25}, tags={"bundle": release}, artifacts={"a.txt": b"a"}
        )
    mirror.point(FAMILY, "stable", RELEASES[1])
    shown = mirror.read(FAMILY)
    assert list(shown.versions) == [1, 2]
    assert shown.versions[1].metrics == {"wer/commands/accent:us": 0.25}
    assert sorted(shown.versions[1].artifacts) == ["a.txt", "model/MLmodel", "model/bundle.json"]
    assert shown.aliases == {"stable": 2}
    mirror.forget(FAMILY)
    assert mirror.read(FAMILY).versions == {}
    assert mirror.register(registry_entry(), family=FAMILY, release=RELEASES[0]) == "1"


@needs_postgresql
def test_a_database_that_may_only_be_read_is_told(served: Served) -> None:
    """Fault 34."""
    served.mirror.register(registry_entry(), family="asr-read-only", release=RELEASES[0])
    served.cluster.execute("ALTER SYSTEM SET default_transaction_read_only = on")
    served.cluster.execute("SELECT pg_reload_conf()")
    try:
        time.sleep(0.5)  # until every backend has read its settings again
        with pytest.raises(
            DependencyFailed, match="MLflow could not record what was found for the release a1a1a1a1a1a1"
        ):
            served.mirror.record(RELEASES[0], tags={"verdict": "pass"})
    finally:
        served.cluster.execute("ALTER SYSTEM RESET default_transaction_read_only")
        served.cluster.execute("SELECT pg_reload_conf()")


@needs_postgresql
def test_a_database_that_goes_away_is_told_and_comes_back(served: Served) -> None:
    """Fault 34."""
    served.mirror.register(registry_entry(), family="asr-gone", release=RELEASES[1])
    served.cluster.stop()
    with pytest.raises(DependencyFailed, match="MLflow could not"):
        served.mirror.point("asr-gone", "candidate", RELEASES[1])
    served.cluster.restart()
    served.mirror.point("asr-gone", "candidate", RELEASES[1])
    assert served.mirror.read("asr-gone").aliases == {"candidate": 1}


def test_a_start_with_a_database_that_is_away_is_refused_at_once_and_shows_no_password(tmp_path: Path) -> None:
    ports = Ports(prefect=free_port(), mlflow=free_port(), gateway=free_port())
    began = time.monotonic()
    with pytest.raises(DependencyFailed) as caught:
        stack.start(
            tmp_path, ports, parts=["mlflow"], mlflow_backend=f"postgresql://me:hush@127.0.0.1:{free_port()}/db"
        )
    assert time.monotonic() - began < 30
    assert caught.value.what == "MLflow's database cannot be written"
    assert "Connection refused" in caught.value.got
    assert "hush" not in str(caught.value)
    assert stack.running(tmp_path) == {}


@pytest.mark.parametrize(
    ("backend", "told"),
    [
        ("sqlite", "sqlite:////srv/mlflow.db"),
        ("postgresql://me@host/db", "postgresql+psycopg://me@host/db"),
        ("postgres://me@host/db", "postgresql+psycopg://me@host/db"),
        ("postgresql+psycopg://me@host/db", "postgresql+psycopg://me@host/db"),
    ],
)
def test_what_mlflow_is_told_of_its_database(backend: str, told: str) -> None:
    assert database_url(backend, Path("/srv/mlflow.db")) == told


@pytest.mark.parametrize("backend", ["mysql://me:hush@host/db", "postgresql", "/srv/mlflow.db"])
def test_another_kind_of_database_is_refused(backend: str) -> None:
    with pytest.raises(WrongCall, match="MLflow's database is of a kind that is not supported") as caught:
        database_url(backend, Path("/srv/mlflow.db"))
    assert "hush" not in str(caught.value)
