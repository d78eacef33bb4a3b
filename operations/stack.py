"""The embedded stack of `soundcheck up` and `down`: Prefect, MLflow, gateway and deployments in the background.

Boundary: processes and files below `HOME/run`: NAME.log, stack.json (what runs where), lock (one start or stop at a
time). What the parts are stands in stack_parts.py, how processes are held in stack_processes.py.
Invariants: starting twice changes nothing; a part that died is started again, after what it left behind is ended; a
start that fails ends what it started; a stop leaves no process of the stack behind, their children included.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from contracts.errors import DependencyFailed, WrongCall
from contracts.policy import Ports
from operations.stack_parts import (
    AFTER,
    HOST,
    PARTS,
    Addresses,
    command,
    configured_port,
    environment,
    free_port,
    is_free,
    mlflow_environment,
    prefect_environment,
    ready,
)
from operations.stack_processes import ProcessName, alive, end, listens, spawn
from registry.mlflow_connection import prepare_database, reach_postgresql, without_credentials

__all__ = [
    "PARTS",
    "Addresses",
    "Running",
    "addresses",
    "log_path",
    "mlflow_environment",
    "prefect_environment",
    "running",
    "start",
    "stop",
]

START_BOUND_S = 180.0
"""Seconds a part may take to be ready: about ten times what it takes on an idle machine of two cores."""
STOP_BOUND_S = 15.0
"""Seconds a part may take to end by itself."""
LOG_LINES = 12
"""Lines of a dead part's log that its error shows."""

Progress = Callable[[str, str, float], None]
"""Called with part, `starting`, `running` (it was up already) or `ready`, and seconds since the start began."""


class Running(ProcessName):
    """A part that was started: its process, its start (s since the epoch), its port and address (None: no server)."""

    started_at: float
    port: int | None
    url: str | None


_STATE = TypeAdapter(dict[str, Running])


def start(
    home: Path,
    ports: Ports,
    *,
    auto_ports: bool = False,
    parts: Sequence[str] = PARTS,
    on_progress: Progress | None = None,
    bound_s: float = START_BOUND_S,
    mlflow_backend: str = "sqlite",
) -> Addresses:
    """Start the parts that do not run, all at once, and wait until every one is ready.

    Args:
        home: the home folder; ports: where parts listen. With `auto_ports` a taken port is replaced by a free one.
        on_progress: told about each part, from a thread of its own.
        bound_s: seconds until a part that is not ready is given up.
        mlflow_backend: MLflow's database, `sqlite` or a PostgreSQL address.
    Raises: DependencyFailed for a port that is taken (nothing was started), a part that ends or is not ready in time
        (what this call started is ended again); WrongCall for a part that does not exist.
    """
    if unknown := sorted(set(parts) - set(PARTS)):
        raise WrongCall("there is no such part of the stack", got=", ".join(unknown), expected=", ".join(PARTS))
    home = home.resolve()
    with _locked(home):
        kept, before = running(home), _read(home)
        fresh = [part for part in parts if part not in kept]
        _end(home, dict.fromkeys(fresh))  # what a dead part left behind, its port included
        chosen = {part: _choose_port(part, ports, before.get(part), auto_ports=auto_ports) for part in fresh}
        for part in [part for part in AFTER if part in kept and _moved(AFTER[part], chosen, before)]:
            _end(home, {part: kept.pop(part)})  # it talks to an address where nobody is any more
            chosen[part] = None
        tell = on_progress or (lambda _part, _state, _seconds: None)
        launch = _Launch(home, kept, chosen, tell, bound_s, mlflow_backend)
        try:
            launch.bring_up([part for part in PARTS if part in parts or part in chosen])
        except BaseException:
            launch.undo()
            raise
    return addresses(home)


def stop(home: Path, *, bound_s: float = STOP_BOUND_S) -> list[str]:
    """End every part and all that it started; the names of the parts that ran."""
    home = home.resolve()
    with _locked(home):
        known = running(home)
        _end(home, {part: known.get(part) for part in PARTS}, bound_s)
        (home / "run" / "stack.json").unlink(missing_ok=True)
    return list(known)


def running(home: Path) -> dict[str, Running]:
    """The parts whose process is there, by name; whether they answer is another question."""
    return {part: record for part, record in _read(home.resolve()).items() if alive(record)}


def addresses(home: Path) -> Addresses:
    """Where the running parts answer."""
    known = running(home)
    return Addresses(**{part: known[part].url for part in Addresses._fields if part in known})


def log_path(home: Path, part: str) -> Path:
    """The part's log."""
    return home / "run" / f"{part}.log"


class _Launch:
    """One start: the state as it grows, and the waiting."""

    def __init__(
        self,
        home: Path,
        kept: dict[str, Running],
        ports: dict[str, int | None],
        tell: Progress,
        bound_s: float,
        mlflow_backend: str,
    ) -> None:
        self.home, self.state, self.ports, self.tell = home, dict(kept), ports, tell
        self.mlflow_backend = mlflow_backend
        self.began, self.deadline = time.monotonic(), time.monotonic() + bound_s
        self.cancelled, self.lock = threading.Event(), threading.Lock()
        urls = {part: record.url for part, record in kept.items()}
        urls |= {part: _url(port) for part, port in ports.items()}
        self.addresses = Addresses(**{part: urls.get(part) for part in Addresses._fields})

    def bring_up(self, parts: Sequence[str]) -> None:
        """All parts, each in a thread of its own; one that must wait for another waits for its thread."""
        with ThreadPoolExecutor(len(parts) or 1) as pool:
            tasks = {part: pool.submit(self._one, part) for part in parts if part not in AFTER}
            for part in (part for part in parts if part in AFTER):
                before = tasks.get(AFTER[part])
                tasks[part] = pool.submit(self._one, part, before.result if before else None)
            try:
                wait(tasks.values(), return_when=FIRST_EXCEPTION)
                for task in tasks.values():
                    if task.done():
                        task.result()
            except BaseException:
                self.cancelled.set()
                self.undo()  # before the pool waits for its threads, which may be waiting for an answer
                raise

    def undo(self) -> None:
        """End what this start has started."""
        with self.lock:
            fresh: dict[str, Running | None] = {part: self.state.pop(part, None) for part in self.ports}
            _end(self.home, fresh)
            _write(self.home, self.state)

    def _one(self, part: str, before: Callable[[], object] | None = None) -> None:
        if before:
            before()
        if part in self.state:
            self.tell(part, "running", self._seconds())
        else:
            self.tell(part, "starting", self._seconds())
            self._spawn(part)
        self._wait(part)
        if not self.cancelled.is_set():
            self.tell(part, "ready", self._seconds())

    def _spawn(self, part: str) -> None:
        """Start a part and write it down at once, so that a start that is killed leaves nothing unknown."""
        port = self.ports[part]
        if part == "mlflow":
            _prepare(self.mlflow_backend, self.home / "mlflow" / "mlflow.db")
        started_at = time.time()
        with self.lock:
            if self.cancelled.is_set():
                return
            process = spawn(
                command(part, port),
                environment(part, self.home, self.addresses, mlflow_backend=self.mlflow_backend),
                mark=_mark(self.home, part),
                log=log_path(self.home, part),
            )
            self.state[part] = Running(**process.model_dump(), started_at=started_at, port=port, url=_url(port))
            _write(self.home, self.state)

    def _wait(self, part: str) -> None:
        record = self.state.get(part)
        if record is None:  # another part has failed, and this one was not started
            return
        while not self._is_ready(part, record):
            if not alive(record):
                raise self._failure(part, f"{part} ended while it was starting")
            if time.monotonic() > self.deadline:
                raise self._failure(part, f"{part} was not ready after {self._seconds():.0f} s")
            if self.cancelled.wait(0.1):
                return

    def _is_ready(self, part: str, record: Running) -> bool:
        """An answer counts only from our own: another program may have taken the port since it was chosen."""
        answered = ready(part, record.url, prefect=self.addresses.prefect, since=record.started_at)
        return answered and (record.port is None or listens(_mark(self.home, part), record.port))

    def _failure(self, part: str, what: str) -> DependencyFailed:
        log = log_path(self.home, part)
        lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:] if log.exists() else []
        return DependencyFailed(
            what,
            where=str(log),
            got="\n    ".join(["its last lines:", *lines]) if lines else "an empty log",
            next_step="see the log, then run `soundcheck up` again",
        )

    def _seconds(self) -> float:
        return time.monotonic() - self.began


def _prepare(backend: str, file: Path) -> None:
    try:
        if backend == "sqlite":
            prepare_database(file)
        else:
            reach_postgresql(backend)
    except (sqlite3.Error, OSError) as error:
        raise DependencyFailed(
            "MLflow's database cannot be written",
            where=str(file) if backend == "sqlite" else without_credentials(backend),
            got=str(error),
            next_step="free it or move it away (MLflow is a view of the ledger), then run `soundcheck up` again",
        ) from None


def _choose_port(part: str, ports: Ports, before: Running | None, *, auto_ports: bool) -> int | None:
    """The configured port; with `auto_ports` the one the part had before, which others know, or any that is free."""
    port = configured_port(part, ports)
    if before and before.port:
        _let_go(before.port)
    if auto_ports and before and before.port and is_free(before.port):
        return before.port
    if port is None or is_free(port):
        return port
    if auto_ports:
        return free_port()
    raise DependencyFailed(
        f"port {port} is taken by another program",
        where=f"{part}, which `soundcheck up` starts",
        expected=f"port {port} of {HOST} to be free",
        next_step=f"run `soundcheck up --auto-ports`, or change ports.{part} in params.yaml",
    )


def _moved(part: str, chosen: Mapping[str, int | None], before: Mapping[str, Running]) -> bool:
    """Whether a part is about to answer elsewhere than it did."""
    return part in chosen and part in before and before[part].port != chosen[part]


def _let_go(port: int) -> None:
    """Wait a moment for a port: a killed process is seen dead before its last thread has closed its sockets."""
    deadline = time.monotonic() + 2
    while not is_free(port) and time.monotonic() < deadline:
        time.sleep(0.02)


def _url(port: int | None) -> str | None:
    return f"http://{HOST}:{port}" if port else None


def _mark(home: Path, part: str) -> str:
    return f"{home}|{part}"


def _end(home: Path, parts: dict[str, Running | None], bound_s: float = STOP_BOUND_S) -> None:
    end({_mark(home, part): process for part, process in parts.items()}, bound_s=bound_s)


def _read(home: Path) -> dict[str, Running]:
    """What was written down; a file that is gone or torn means that nothing is known to run."""
    try:
        return _STATE.validate_json((home / "run" / "stack.json").read_bytes())
    except (FileNotFoundError, ValidationError):
        return {}


def _write(home: Path, state: dict[str, Running]) -> None:
    target = home / "run" / "stack.json"
    temporary = target.with_name("stack.json.new")
    temporary.write_bytes(_STATE.dump_json(state, indent=1))
    temporary.replace(target)


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    """One start or stop of an installation at a time; a second one waits. The lock ends with its process."""
    (home / "run").mkdir(parents=True, exist_ok=True)
    descriptor = os.open(home / "run" / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
