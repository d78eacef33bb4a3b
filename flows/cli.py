"""The command line `soundcheck`: parsing, printing, exit statuses.

Boundary: results to stdout, messages and progress to stderr; exit status 0 pass, 1 the verdict is not pass, 2 the call
was wrong, 3 a dependency failed.
Invariants: an error a person can act on is printed without a traceback; importing this module costs under 0.2 s.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

import click

from contracts.errors import SoundcheckError

COMMANDS = {
    "release": "release",
    "approve": "release",
    "waive": "release",
    "rollback": "rollback",
    "bake": "rollback",
    "degrade": "steering",
    "cascade": "steering",
    "status": "rollback",
    "restore": "rollback",
    "verify": "rollback",
    "packet": "packet",
    "abort": "rollback",
    "freeze": "rollback",
    "unfreeze": "rollback",
    "condemn": "rollback",
    "score": "evaluate",
    "judge": "evaluate",
    "replay": "evaluate",
    "drift": "evaluate",
    "capacity": "capacity",
    "incident": "incident",
    "automations": "automations",
    "up": "servers",
    "down": "servers",
    "serve": "servers",
    "traffic": "servers",
    "index": "index",
    "data": "data",
    "lineage": "lineage",
    "keys": "materials",
    "pack": "materials",
    "family": "family",
    "mirror": "mirror",
    "gc": "store",
    "erase": "store",
    "consent": "store",
    "wheels": "store",
    "telemetry": "telemetry",
}
"""Each command and the file of flows/commands that has it; files are imported when their command is called."""


class Commands(click.Group):
    """Commands that are imported when they are needed; an error of ours becomes its lines and its exit status."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """All commands, in the order of a release's life."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the command's file."""
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(f"flows.commands.{COMMANDS[cmd_name]}"), cmd_name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="speech-soundcheck")
def soundcheck() -> None:
    """Release speech models, and take them back.

    \b
    A first release:
      soundcheck up                                        start Prefect, MLflow and the gateway
      soundcheck release asr-commands --candidate v1       score, gate, package, stage, canary, ask, promote
      soundcheck status asr-commands                       what is stable, and how it came to be
      soundcheck rollback asr-commands --key KEY --reason "callers complain"

    Exit status: 0 pass, 1 the verdict is not pass, 2 the call was wrong, 3 a dependency failed.
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    run(lambda: soundcheck.main(args=arguments, standalone_mode=False))


def run(action: Callable[[], Any]) -> None:
    """Do it; never a traceback for an error a person can act on."""
    try:
        action()
    except SoundcheckError as error:
        click.echo(f"soundcheck: {error.diagnostics()}", err=True)
        sys.exit(error.exit_status)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as wrong:
        wrong.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        click.echo("soundcheck: stopped; what was done is in the ledger, the same command goes on", err=True)
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
