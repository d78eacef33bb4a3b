"""A private PostgreSQL cluster on loopback for tests: free port, its own folder, an unprivileged user, nothing left.

Needs the programs of Debian's package `postgresql` (scripts/postgres.sh installs them).
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

MISSING = "PostgreSQL's programs are not installed; next step: bash scripts/postgres.sh (as root)"
UNPRIVILEGED = ("postgres", "nobody")
"""Users that initdb may run as where the tests run as root, which it refuses; the first that exists."""
START_S = 60.0


class Cluster(NamedTuple):
    """A running cluster: its address with password, its folder."""

    url: str
    folder: Path

    def restart(self) -> None:
        """Start it after a stop."""
        _run("pg_ctl", "-D", str(self.folder / "data"), "-l", str(self.folder / "log"), "-w", "start")

    def stop(self) -> None:
        """End it at once, connections and all."""
        _run("pg_ctl", "-D", str(self.folder / "data"), "-m", "immediate", "-w", "stop")

    def execute(self, statement: str) -> None:
        """Run one statement as the owner."""
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement.encode())


def program(name: str) -> Path | None:
    """A program of the newest PostgreSQL there is, None without one."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which(name)
    return found[-1] if found else Path(on_path) if on_path else None


@contextmanager
def running() -> Iterator[Cluster]:
    """A cluster for the length of a block; its folder is directly below the temporary one, where others may enter."""
    folder = Path(tempfile.mkdtemp(prefix="soundcheck-postgresql-"))
    try:
        password = folder / "password"
        password.write_text(secrets.token_hex(8))
        _give_away(folder, password)
        port = _free_port()
        _run("initdb", "-D", str(folder / "data"), "-U", "mlflow", "-A", "scram-sha-256", f"--pwfile={password}", "-N")
        settings = f"listen_addresses='127.0.0.1'\nport={port}\nunix_socket_directories=''\nfsync=off\n"
        _run("tee", "-a", str(folder / "data" / "postgresql.conf"), text=settings)
        cluster = Cluster(f"postgresql://mlflow:{password.read_text()}@127.0.0.1:{port}/postgres", folder)
        cluster.restart()
        try:
            yield cluster
        finally:
            if (folder / "data" / "postmaster.pid").exists():
                cluster.stop()
    finally:
        shutil.rmtree(folder)


def _run(name: str, *words: str, text: str | None = None) -> None:
    path = program(name) or shutil.which(name)
    assert path, MISSING
    command = [*_as_unprivileged(), str(path), *words]
    done = subprocess.run(  # no pipes: the server that pg_ctl starts would hold them open
        command, input=text, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True, timeout=START_S,
        check=False, cwd="/",
    )  # fmt: skip
    assert done.returncode == 0, f"{name} ended with {done.returncode}"


def _as_unprivileged() -> list[str]:
    if os.getuid() != 0:
        return []
    user = _user()
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


def _user() -> pwd.struct_passwd:
    known = {user.pw_name: user for user in pwd.getpwall()}
    return next(known[name] for name in UNPRIVILEGED if name in known)


def _give_away(*paths: Path) -> None:
    if os.getuid() == 0:
        for path in paths:
            os.chown(path, _user().pw_uid, _user().pw_gid)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
