"""How MLflow is reached: its client, its bounds, and one error for every way in which it can fail.

Boundary: with registry/mlflow_mirror.py and serving/pyfunc.py the only modules that import mlflow, and only inside
functions, so that importing this module costs nothing.
Invariants: a server that is away, a database that is locked, read-only or gone is told within seconds, as
DependencyFailed (fault 34); no credential of an address stands in a message; nothing phones home.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import sqlite3
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from contracts.errors import DependencyFailed, WrongCall

NEXT_STEP = (
    "start MLflow with `soundcheck up`; releases and rollbacks go on without it, "
    "and `soundcheck mirror rebuild` brings it back from the ledger"
)

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
}
"""Environment of every process that uses MLflow: nothing phones home, chats on the terminal or unpickles a model."""
PATIENCE = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
"""Bounds of MLflow's own waiting, whose defaults (7 retries, 120 s each) would hold a release for minutes."""
POSTGRESQL = ("postgresql", "postgres", "postgresql+psycopg")
"""Schemes of addresses that mean a PostgreSQL server."""
UNKNOWN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
"""What MLflow answers for a model, a version or an alias that is not there."""


class Connection:
    """MLflow's client for one address, made at first use.

    Args:
        uri: address of an MLflow server (`http://...`) or of its database (`sqlite:///PATH`).
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri.rstrip("/")
        self._client: Any = None

    @property
    def shown(self) -> str:
        """The address without credentials."""
        return without_credentials(self.uri)

    def client(self) -> Any:
        """The `mlflow.MlflowClient`."""
        if self._client is None:
            os.environ.update(QUIET)
            for name, value in PATIENCE.items():
                os.environ.setdefault(name, value)
            from mlflow import MlflowClient

            self._client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
        return self._client

    @contextmanager
    def reporting(self, intent: str) -> Iterator[None]:
        """Turn every way in which MLflow can fail into one DependencyFailed; what is no fault of MLflow's goes on."""
        try:
            _reach(self.uri)
            yield
        except Exception as error:
            if not _is_from_mlflow(error):
                raise
            raise self._failure(intent, error) from error

    def glance(self, question: str, **values: str) -> dict[str, Any] | None:
        """One answer of an MLflow server's REST API, None where it knows no such thing.

        Asked without mlflow itself, which takes seconds to import: for commands that answer at once.
        """
        query = urllib.parse.urlencode(values)
        request = urllib.request.Request(f"{self.shown}/api/2.0/mlflow/{question}?{query}")  # noqa: S310
        if login := urllib.parse.urlsplit(self.uri).netloc.rpartition("@")[0]:
            word = base64.b64encode(urllib.parse.unquote(login).encode()).decode()
            request.add_header("Authorization", f"Basic {word}")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
                return dict(json.loads(answer.read()))
        except urllib.error.HTTPError as error:
            if json.loads(error.read() or b"{}").get("error_code") in UNKNOWN:
                return None
            raise

    def _failure(self, intent: str, error: Exception) -> DependencyFailed:
        first_line = (str(error) or type(error).__name__).splitlines()[0][:300]
        return DependencyFailed(
            f"MLflow could not {intent}",
            where=self.shown,
            got=first_line.replace(self.uri, self.shown),
            next_step=NEXT_STEP,
        )


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


def database_url(backend: str, file: Path) -> str:
    """What MLflow is told of its database: the SQLite `file`, or a PostgreSQL address with the driver we have.

    Raises WrongCall for an address of another kind.
    """
    if backend == "sqlite":
        return f"sqlite:///{file}"
    scheme, _, rest = backend.partition("://")
    if scheme not in POSTGRESQL or not rest:
        raise WrongCall(
            "MLflow's database is of a kind that is not supported",
            where="mlflow.backend in params.yaml, or SOUNDCHECK_MLFLOW_BACKEND",
            got=without_credentials(backend),
            expected="sqlite, or postgresql://USER@HOST/DATABASE",
        )
    return f"postgresql+psycopg://{rest}"


def reach_postgresql(backend: str) -> None:
    """Connect once; raises OSError with the server's own words where that fails.

    MLflow would try for over a minute before it says the same.
    """
    import psycopg

    database_url(backend, Path())
    try:
        psycopg.connect(f"postgresql://{backend.partition('://')[2]}", connect_timeout=5).close()
    except psycopg.Error as error:
        raise OSError(str(error).splitlines()[0]) from None


def sqlite_path(uri: str) -> Path | None:
    """The file of an SQLite address, None for any other."""
    return Path(uri.removeprefix("sqlite:///")).absolute() if uri.startswith("sqlite:///") else None


def without_credentials(uri: str) -> str:
    """An address that may be shown."""
    parts = urllib.parse.urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _reach(uri: str) -> None:
    """Fail at once where nobody listens or the database cannot be written: a rollback may not wait for retries."""
    if database := sqlite_path(uri):
        prepare_database(database)
    elif uri.startswith("http"):
        parts = urllib.parse.urlsplit(uri)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname or "", port), timeout=3).close()


def _is_from_mlflow(error: Exception) -> bool:
    """Whether MLflow, its database or the way to it failed. Told by name: importing mlflow takes seconds."""
    if isinstance(error, OSError | sqlite3.Error | ImportError):
        return True
    return any(kind.__module__.split(".")[0] in ("mlflow", "sqlalchemy", "requests") for kind in type(error).__mro__)
