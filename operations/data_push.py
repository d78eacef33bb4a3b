"""The data remote of an installation: DVC pointed at the store's own place, and told to push.

Boundary: calls DVC's command line in the project's folder; writes `.dvc/config.local`, which git does not see.
Invariants: data lies beside the blobs of the store (`dvc/` below its address), so that the store alone brings
everything back; credentials stay where AWS tools look, nothing of them is written; DVC sends no analytics.
"""

from __future__ import annotations

import os
import subprocess
import sys

from contracts.errors import DependencyFailed, Refused
from operations.context import Context
from registry.dvc_remote import NAME, configured, place_of_store

_QUIET = {"DVC_NO_ANALYTICS": "1", "DO_NOT_TRACK": "1"}


def configure(context: Context) -> str:
    """Make the store's own place the default remote of DVC here, and return its address; again changes nothing."""
    place = place_of_store(context.store.url)
    if place is None:
        raise Refused("this store has no place for data", where=context.store.url, expected="file:// or s3://")
    if configured(context.settings.root) == (NAME, place):
        return place.address
    _dvc(context, "remote", "add", "--quiet", "--local", "--force", "--default", NAME, place.address)
    for option, value in (("endpointurl", place.endpoint), ("profile", place.profile)):
        if value:
            _dvc(context, "remote", "modify", "--quiet", "--local", NAME, option, value)
    return place.address


def push(context: Context) -> str:
    """Send every output that DVC holds here to the remote; what is there already is not sent again."""
    address = configure(context)
    _dvc(context, "push", "--remote", NAME)
    return address


def _dvc(context: Context, *words: str) -> None:
    """Run DVC; its progress and its messages go to stderr."""
    root = context.settings.root
    if not (root / ".dvc").is_dir():
        raise Refused("this project has no DVC", where=str(root), expected="a folder .dvc", next_step="dvc init")
    command = [sys.executable, "-m", "dvc", *words]
    status = subprocess.run(command, cwd=root, env={**os.environ, **_QUIET}, stdout=sys.stderr, check=False).returncode
    if status:
        raise DependencyFailed(
            f"dvc {words[0]} failed",
            where=str(root),
            got=f"exit status {status}; its own words stand above",
            next_step="is the store's server up, and are its credentials set? then run the same command again",
        )
