"""What the embedded stack is made of: how each part is started, where it answers, when it is ready.

Boundary: builds commands and environments, and asks parts over loopback HTTP; starts nothing (stack.py does).
Invariants: a part's environment holds nothing of the caller's own PREFECT_* and MLFLOW_* settings, so that the stack
is the same for everybody; nothing phones home; loopback never goes through a proxy; no secret stands in a command.
"""

from __future__ import annotations

import json
import os
import socket
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from contracts.policy import Ports
from operations.stack_processes import python_module
from registry.mlflow_connection import PATIENCE, QUIET, database_url

HOST = "127.0.0.1"
PARTS = ("prefect", "mlflow", "gateway", "deployments")
AFTER = {"deployments": "prefect"}
"""Parts that can only start when another one is ready."""

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Addresses(NamedTuple):
    """Base URLs, None for a part that does not run; Prefect's API is below `/api`."""

    prefect: str | None = None
    mlflow: str | None = None
    gateway: str | None = None


def prefect_environment(home: Path, url: str) -> dict[str, str]:
    """What every process that talks to this Prefect server needs: address, folders, no analytics."""
    return {
        "PREFECT_HOME": str(home / "prefect"),
        "PREFECT_API_URL": f"{url}/api",
        "PREFECT_UI_URL": url,
        "PREFECT_RESULTS_LOCAL_STORAGE_PATH": str(home / "prefect" / "results"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",  # a server that is away is an error, not a reason to start one
        "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
        "PREFECT_TELEMETRY_ENABLE_RESOURCE_METRICS": "false",
        "PREFECT_RUNNER_POLL_FREQUENCY": "2",  # s until a run that a person starts in the UI begins; its default is 10
        "PREFECT_CLI_PROMPT": "false",
        "DO_NOT_TRACK": "true",
        **_without_proxy(),
    }


def mlflow_environment(_home: Path, url: str) -> dict[str, str]:
    """What every process that talks to this MLflow server needs: address, short waits, no analytics."""
    return {"MLFLOW_TRACKING_URI": url, "MLFLOW_REGISTRY_URI": url, **QUIET, **PATIENCE, **_without_proxy()}


def command(part: str, port: int | None) -> list[str]:
    """How a part is started."""
    if part == "prefect":
        return python_module("prefect", "server", "start", "--host", HOST, "--port", str(port))
    if part == "mlflow":
        # `mlflow server` would load MLflow twice, in a parent and in its worker; this is the worker alone.
        quiet = ("--no-access-log", "--log-level", "warning")
        return python_module("uvicorn", "mlflow.server.fastapi_app:app", "--host", HOST, "--port", str(port), *quiet)
    if part == "gateway":
        return python_module("flows.cli", "serve", "--port", str(port))
    return python_module("flows.serve")


def environment(part: str, home: Path, addresses: Addresses, *, mlflow_backend: str = "sqlite") -> dict[str, str]:
    """The whole environment of a part: the caller's, without its Prefect and MLflow settings, and the part's own."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MLFLOW_"))}
    clean |= {"SOUNDCHECK_HOME": str(home), "PYTHONUNBUFFERED": "1"}
    if addresses.prefect:
        clean |= prefect_environment(home, addresses.prefect)
    if addresses.mlflow:
        clean |= mlflow_environment(home, addresses.mlflow)
    if addresses.gateway:
        clean["SOUNDCHECK_GATEWAY"] = addresses.gateway
    if part == "prefect":
        clean |= _prefect_server(home, f"{addresses.prefect}/api")
    if part == "mlflow":
        clean |= _mlflow_server(home, mlflow_backend)
    return clean


def ready(part: str, address: str | None, *, prefect: str | None, since: float) -> bool:
    """Whether a part does its work: servers answer, deployments have asked Prefect for runs after `since` (s)."""
    if part == "prefect":
        return _answers(f"{address}/api/health")
    if part == "mlflow":  # the first question that needs the database makes it
        return _answers(f"{address}/api/2.0/mlflow/experiments/get-by-name?experiment_name=Default")
    if part == "gateway":
        return _answers(f"{address}/healthz")
    polled = [row.get("last_polled") for row in _ask(f"{prefect}/api/deployments/filter", {"limit": 50}) or []]
    return any(datetime.fromisoformat(time).timestamp() >= since for time in polled if time)


def configured_port(part: str, ports: Ports) -> int | None:
    """The port of params.yaml; None for a part that listens nowhere."""
    return None if part == "deployments" else int(getattr(ports, part))


def is_free(port: int) -> bool:
    """Whether this machine's loopback port can be listened at."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """Any port that is free now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _prefect_server(home: Path, api: str) -> dict[str, str]:
    return {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{home / 'prefect' / 'prefect.db'}",
        "PREFECT_SERVER_UI_API_URL": api,  # where the pages find the API when the port is not 4200
        "PREFECT_SERVER_UI_V2_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",  # the one kind that is used registers itself
    }


def _mlflow_server(home: Path, backend: str) -> dict[str, str]:
    """What `mlflow server` tells its worker (mlflow.server.constants)."""
    database = database_url(backend, home / "mlflow" / "mlflow.db")
    return {
        "_MLFLOW_SERVER_FILE_STORE": database,
        "_MLFLOW_SERVER_REGISTRY_STORE": database,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(home / "mlflow" / "artifacts"),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "_MLFLOW_SGI_NAME": "uvicorn",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }


def _without_proxy() -> dict[str, str]:
    named = [os.environ.get("NO_PROXY") or os.environ.get("no_proxy") or "", HOST, "localhost"]
    value = ",".join(dict.fromkeys(part for part in ",".join(named).split(",") if part))
    return {"NO_PROXY": value, "no_proxy": value}


def _answers(url: str) -> bool:
    return _fetch(urllib.request.Request(url)) is not None  # noqa: S310  (a loopback address of ours)


def _ask(url: str, body: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    request = urllib.request.Request(  # noqa: S310
        url, data=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
    )
    answer = _fetch(request)
    return list(json.loads(answer)) if answer is not None else None


def _fetch(request: urllib.request.Request) -> bytes | None:
    """The body of a 200; None for anything else. The bound covers MLflow's making of its database."""
    try:
        with _DIRECT.open(request, timeout=30) as answer:
            return bytes(answer.read())
    except (OSError, urllib.error.URLError, ValueError):
        return None
