"""What the serving benchmark measures and what it is measured against: servers on loopback, a process each.

    python -m benchmarks.serving_peers PORT       answers every request with the same words, and hears nothing

Boundary: starts processes and stops them; MLflow and uvicorn are run by their own command lines.
Invariants: every server that hears has one process with the model and one thread for it, on the same payload; all of
them speak persistent HTTP/1.1 without an access log. Ours has its gateway in a process of its own beside the worker.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, cast

from benchmarks.lean_client import Address, HttpConnection, form, post
from contracts.digest import Digest
from contracts.errors import DependencyFailed
from registry.bundle import assemble, freeze
from registry.ledger import Ledger
from registry.mirrored import model_files
from registry.store import open_store
from serving.client import start_gateway
from serving.process import environment

FAMILY = "asr-commands"
KEY = "sk-benchmark"
STORE = "file://store"
START_S = 120.0
AT = "2026-01-01T00:00:00Z"
STREAMS = 1_024
STREAM_PATH = f"/v1/audio/stream?model={FAMILY}"


class Peer(NamedTuple):
    """A server: where it listens, the request for a WAV file, and the text in the body of an answer."""

    address: Address
    request: Callable[[bytes], bytes]
    text: Callable[[bytes], str]


def make_home(home: Path, payload: Path, family: str = FAMILY) -> Digest:
    """An installation whose store and ledger hold the payload as a bundle, with an API key."""
    home.mkdir()
    entry = {hashlib.sha256(KEY.encode()).hexdigest(): {"name": "benchmark", "tenant": "*"}}
    (home / "api_keys.json").write_text(json.dumps({"keys": entry}))
    store, folder = open_store(STORE, home), home / "made"
    shutil.copytree(payload, folder / "payload")
    bundle = freeze(store, folder, assemble(folder, family=family, version="benchmark"))
    Ledger(store, family).append("package", "complete", at=AT, outputs={"bundle": bundle})
    return bundle


@contextlib.contextmanager
def ours(home: Path, bundle: Digest) -> Iterator[Peer]:
    """The gateway and one worker of the bundle."""
    options = ("--threads", "1", "--stream-limit", str(STREAMS))
    with start_gateway(home, serve={FAMILY: bundle}, options=options, timeout_s=START_S) as gateway:

        def request(wav: bytes) -> bytes:
            body, kind = form(wav, {"model": FAMILY})
            return post("/v1/audio/transcriptions", body, kind, (f"Authorization: Bearer {KEY}",))

        yield Peer(Address(int(gateway.base_url.rsplit(":", 1)[1])), request, _text)


@contextlib.contextmanager
def plain_fastapi(home: Path) -> Iterator[Peer]:
    """benchmarks/plain_fastapi.py under uvicorn."""
    port = _free_port()
    command = ("uvicorn", "benchmarks.plain_fastapi:application", "--factory", "--port", str(port))
    with _process(home, "fastapi", port, (*command, "--no-access-log"), {"PAYLOAD": str(home / "made" / "payload")}):
        yield Peer(Address(port), lambda wav: post("/transcribe", *form(wav, {})), _text)


@contextlib.contextmanager
def mlflow_serve(home: Path, bundle: Digest) -> Iterator[Peer]:
    """`mlflow models serve` of the model that a release registers, with a signature that lets JSON carry audio."""
    port, folder = _free_port(), home / "model"
    folder.mkdir()
    for path, content in model_files(bundle=bundle, family=FAMILY, number=1, store_url=STORE, created_ms=0).items():
        (folder / Path(path).name).write_bytes(content)
    described = json.loads((folder / "MLmodel").read_text())
    described["signature"] = {"inputs": json.dumps([{"type": "binary", "name": "audio", "required": True}])}
    (folder / "MLmodel").write_text(json.dumps(described))
    serve = ("mlflow", "models", "serve", "--model-uri", str(folder), "--env-manager", "local")
    options = ("--host", "127.0.0.1", "--port", str(port), "--workers", "1")

    def request(wav: bytes) -> bytes:
        split = {"columns": ["audio"], "data": [[base64.b64encode(wav).decode()]]}
        return post("/invocations", json.dumps({"dataframe_split": split}).encode(), "application/json")

    with _process(home, "mlflow", port, (*serve, *options), {"SOUNDCHECK_HOME": str(home)}):
        yield Peer(Address(port), request, lambda body: str(json.loads(body)["predictions"][0]["text"]))


@contextlib.contextmanager
def empty(home: Path) -> Iterator[Peer]:
    """A server that does nothing: what a request through it takes is the client's own cost and the system's."""
    port = _free_port()
    with _process(home, "empty", port, ("benchmarks.serving_peers", str(port)), {}):
        yield Peer(Address(port), lambda wav: post("/", *form(wav, {})), _text)


def _text(body: bytes) -> str:
    return str(json.loads(body)["text"])


@contextlib.contextmanager
def _process(home: Path, name: str, port: int, module: Sequence[str], more: Mapping[str, str]) -> Iterator[None]:
    """`python -m MODULE...` until it listens, and its end with all its children; its log is HOME/NAME.log."""
    log = home / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *module],
            env={**environment(1), "DO_NOT_TRACK": "true", "MLFLOW_DISABLE_TELEMETRY": "true", **more},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        _await_port(process, port, log)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _await_port(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    ends = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < ends:
        with contextlib.suppress(OSError):
            HttpConnection(Address(port)).close()
            return
        time.sleep(0.1)
    lines = log.read_text(errors="replace").splitlines()
    raise DependencyFailed(
        "a peer of the benchmark did not start", where=log.stem, got=lines[-1] if lines else "nothing in its log",
        expected="a server that listens", next_step="run its command by hand",
    )  # fmt: skip


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class _Empty(asyncio.Protocol):
    """Answers once it has a request's whole body."""

    _ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{"text":""}'

    def __init__(self) -> None:
        self._left = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if not self._left:
            # The head and the start of the body come in one piece from this benchmark's client.
            head, _, body = data.partition(b"\r\n\r\n")
            self._left = int(head.rsplit(b"Content-Length: ", 1)[1]) - len(body)
        else:
            self._left -= len(data)
        if not self._left:
            self._transport.write(self._ANSWER)


async def _serve_empty(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(_Empty, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    uvloop.run(_serve_empty(int(sys.argv[1])))
