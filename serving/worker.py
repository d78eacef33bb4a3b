"""A worker: one process that runs one bundle's payload and answers over a Unix socket.

    python -m serving.worker --bundle DIR --socket PATH [--threads 1] < DIGESTS

DIGESTS is a JSON object: path below the payload -> SHA-256, as the bundle's manifest says.

Boundary: it reads the bundle's payload once, then hears and speaks frames (serving/frames.py) alone; it writes no file
but its socket and, beside it, its own copy of the payload, and logs no text. Source: release-algorithm R6, R7.6; fault
28; house.md `serving/`.
Invariants: what it loads has the digests that it was given; it is reached only when the model has been warmed; one
thread uses the model; interactive and batch requests have bounded queues of their own, and one too many is told
`overloaded` at once; work whose deadline has passed or whose client has gone is dropped before it is inferred; a
stream's decoder state lives as long as its stream; the process ends with its parent; SIGTERM lets what is queued or
open finish first.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from contracts.errors import SoundcheckError
from registry.store.files import SCRATCH_FOLDER, scratch_folder, sweep
from serving.frames import receive
from serving.inference import Connection, Inference
from serving.lifetime import end_with_parent
from serving.payload import private_copy
from serving.prompts import Prompts, spoken
from serving.queues import Limits
from speech.kinds import kind
from speech.memory import peak_memory_mb
from speech.runtimes import load_model
from speech.runtimes.kinds import Model, Voice, task_of

Loader = Callable[..., Model]
Warmer = Callable[[Model], None]

ABOUT = ("voice_rate_hz", "max_characters", "dimension", "space", "classes")
"""Attributes of models that the gateway needs to know."""


class Worker:
    """The socket side of a worker: a reading thread a connection, and the one inference thread."""

    def __init__(self, model: Model, limits: Limits, prompts: Prompts, *, load_ms: float, warm_ms: float) -> None:
        self._about = about(model)
        self._times = {"load_ms": load_ms, "warm_ms": warm_ms}
        self._inference = Inference(model, limits, prompts)

    def serve(self, listener: socket.socket) -> None:
        """Accept connections until the listener is closed."""
        self._inference.start()
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def drain(self, timeout_s: float) -> None:
        """Finish what is queued and the streams that are open, for at most `timeout_s` seconds."""
        self._inference.drain(timeout_s)

    def _converse(self, raw: socket.socket) -> None:
        connection = Connection(raw)
        connection.send(
            {
                "op": "ready",
                **self._about,
                **self._times,
                "peak_memory_mb": peak_memory_mb(),
                "pid": os.getpid(),
            }
        )
        try:
            with raw.makefile("rb") as reader:
                while (frame := receive(reader)) is not None:
                    if frame.header["op"] == "statistics":
                        figures = {**self._inference.statistics(), "peak_memory_mb": peak_memory_mb()}
                        connection.send({"op": "statistics", "id": frame.header["id"], **figures})
                    else:
                        self._inference.submit(connection, frame)
        except OSError:
            pass
        finally:
            self._inference.forget(connection)
            raw.close()


def listen(path: Path) -> socket.socket:
    """A listening Unix socket at `path` that only this user can reach; who sees the path can connect."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(temporary))
    finally:
        os.umask(before)
    listener.listen(16)
    temporary.rename(path)
    return listener


def warm(model: Model) -> None:
    """Let the engine make what it makes on its first use, so that the first user does not wait for it."""
    kind(task_of(model)).warm(model)


def about(model: Model) -> dict[str, Any]:
    """What the gateway is told of a model: its task and rate in Hz, and of ABOUT what it has; a voice's `name`."""
    found = {name: getattr(model, name) for name in ABOUT if hasattr(model, name)}
    task, streaming = task_of(model), bool(getattr(model, "streaming", False))
    if task == "synthesis":
        found |= {"voice": cast(Voice, model).name, "voice_rate_hz": model.sample_rate_hz}
    return {"task": task, "rate_hz": model.sample_rate_hz, "streaming": streaming, **found}


def main(arguments: Sequence[str] | None = None, *, loader: Loader = load_model, warmer: Warmer = warm) -> None:
    """Load the bundle, then serve until SIGTERM, SIGINT or the parent's death; ends the process."""
    parser = argparse.ArgumentParser(prog="python -m serving.worker", description="Serve one bundle.")
    parser.add_argument("--bundle", type=Path, required=True, help="a restored bundle's folder")
    parser.add_argument("--socket", type=Path, required=True, help="where to listen")
    parser.add_argument("--threads", type=int, default=1, help="threads the model may use")
    standard = Limits()
    parser.add_argument("--queue-limit", type=int, default=standard.interactive, help="interactive requests may wait")
    parser.add_argument("--batch-queue-limit", type=int, default=standard.batch, help="batch requests may wait")
    parser.add_argument("--stream-limit", type=int, default=standard.streams, help="streams may be open")
    parser.add_argument("--max-batch", type=int, default=standard.max_batch, help="requests are heard at once, at most")
    parser.add_argument("--batch-wait-ms", type=float, default=0.0, help="ms the first of them waits for others")
    parser.add_argument("--drain", type=float, default=30.0, help="seconds that open work may go on after SIGTERM")
    parser.add_argument("--parent", type=int, default=0, help="process whose death ends this one")
    options = parser.parse_args(arguments)

    end_with_parent(options.parent)
    try:
        sweep(options.socket.parent, SCRATCH_FOLDER + "*")  # copies of workers that were killed
        with scratch_folder(options.socket) as folder:
            _run(options, folder, loader, warmer)
    except SoundcheckError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_status)
    # Threads that wait on a socket would keep the interpreter; nothing is left to flush.
    os._exit(0)


def _run(options: argparse.Namespace, folder: Path, loader: Loader, warmer: Warmer) -> None:
    """Serve until a signal; `folder` keeps the payload's copy, which an engine may map or read again."""
    began = time.perf_counter()
    payload = private_copy(options.bundle / "payload", json.loads(sys.stdin.buffer.read() or "{}"), folder / "payload")
    model = loader(payload, threads=options.threads)
    loaded = time.perf_counter()
    warmer(model)
    prompts = spoken(cast(Voice, model), payload) if task_of(model) == "synthesis" else {}
    warmed = time.perf_counter()
    limits = Limits(
        interactive=options.queue_limit,
        batch=options.batch_queue_limit,
        streams=options.stream_limit,
        max_batch=options.max_batch,
        batch_wait_s=options.batch_wait_ms / 1000,
    )
    worker = Worker(model, limits, prompts, load_ms=(loaded - began) * 1000, warm_ms=(warmed - loaded) * 1000)
    listener = listen(options.socket)

    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    threading.Thread(target=worker.serve, args=(listener,), daemon=True).start()
    stopping.wait()
    worker.drain(options.drain)
    options.socket.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        listener.close()


if __name__ == "__main__":
    main()
