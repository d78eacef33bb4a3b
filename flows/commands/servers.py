"""Commands that start and stop servers, and that send traffic."""

from __future__ import annotations

from typing import Any

import click


@click.command()
@click.option("--auto-ports", is_flag=True, help="Take free ports where those of params.yaml are taken.")
@click.option("--part", "parts", multiple=True, type=click.Choice(["prefect", "mlflow", "gateway", "deployments"]),
              help="Start only this part (may be repeated).")  # fmt: skip
def up(auto_ports: bool, parts: tuple[str, ...]) -> None:
    """Start Prefect, MLflow, the gateway and the deployments in the background, and print their addresses.

    What runs already is kept, what died is started again. `soundcheck down` stops everything. A bucket as the store is
    tested first: one that lets two writers win is refused.
    """
    from datetime import UTC, datetime

    from flows.commands.shared import progress_bars
    from operations.keys import ensure_api_key
    from operations.settings import find_settings
    from operations.stack import PARTS, start
    from operations.store_check import check_store
    from registry.store import open_store

    settings = find_settings()
    check_store(open_store(settings.store.url, settings.home), settings.home, datetime.now(UTC))
    ensure_api_key(settings.home, "demo")
    with progress_bars() as progress:
        found = start(
            settings.home,
            settings.ports,
            auto_ports=auto_ports,
            parts=parts or PARTS,
            on_progress=lambda part, _state, _seconds: progress(f"start {part}", 1, 1),
            mlflow_backend=settings.mlflow_backend,
        )
    for name, address in found._asdict().items():
        if address:
            click.echo(f"{name:<10} {address}")


@click.command()
def down() -> None:
    """Stop everything that `soundcheck up` started; nothing is left running."""
    from operations.settings import find_settings
    from operations.stack import stop

    stopped = stop(find_settings().home)
    click.echo("stopped: " + ", ".join(stopped) if stopped else "nothing was running")


@click.command()
@click.option("--port", type=int, default=None, help="Port to listen on (params.yaml ports.gateway).")
@click.option("--plant", type=click.Path(dir_okay=False), default=None, metavar="FILE",
              help="Faults for a drill (docs/drills.md); refused where others would suffer.")  # fmt: skip
def serve(port: int | None, plant: str | None) -> None:
    """Run the gateway in the foreground: the production API and the route tables it follows."""
    from operations.settings import find_settings
    from operations.telemetry import promises
    from serving.gateway import main, options_of

    settings = find_settings()
    follow = [word for family in settings.families for word in ("--family", family)]
    address = [
        "--home",
        str(settings.home),
        "--port",
        str(port or settings.ports.gateway),
        "--store",
        settings.store.serving_url or settings.store.url,
    ]
    drill = ["--plant", plant] if plant else []
    raise SystemExit(main([*address, *follow, *options_of(settings.serving), *promises(settings), *drill]))


def _shares(_context: object, _parameter: object, given: tuple[str, ...]) -> dict[str, float]:
    """NAME=SHARE options as a table."""
    shares = {}
    for text in given:
        name, separator, share = text.partition("=")
        try:
            shares[name] = float(share) if separator else 1.0
        except ValueError:
            raise click.BadParameter(f"{text!r} is not NAME=SHARE") from None
    return shares


@click.command()
@click.argument("family")
@click.option("--seconds", type=float, default=60.0, show_default=True, help="How long to play.")
@click.option("--concurrency", type=int, default=4, show_default=True, help="Sessions at once.")
@click.option("--rate", type=float, default=None, help="Sessions that begin in a second, at random, instead.")
@click.option("--cadence", type=float, default=1.0, show_default=True, help="Streams: times real time.")
@click.option("--seed", type=int, default=1, show_default=True, help="Which sessions; equal seeds play alike.")
@click.option("--streams", type=float, default=0.3, show_default=True, help="Share of utterances that are streamed.")
@click.option("--delay-ms", type=float, default=0.0, show_default=True, help="Mean lateness of a phone's frames.")
@click.option("--leave", type=float, default=0.0, show_default=True, help="Share of streams dropped midway.")
@click.option("--retries", type=int, default=2, show_default=True, help="Tries more while the server is busy.")
@click.option("--probes/--no-probes", default=True, show_default=True,
              help="Labelled probes, whose word errors are told; else users, of whom nothing is known.")  # fmt: skip
@click.option("--event", "events", multiple=True, callback=_shares, metavar="KIND=SHARE",
              help="Answers after which the client tells this, as correction=0.05 (may be repeated).")  # fmt: skip
@click.option("--plant", "plants", multiple=True, callback=_shares, metavar="FAULT=SHARE",
              help="Phone sessions with this fault: silence, wrong_rate (may be repeated).")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The summary as JSON on stdout.")
def traffic(
    family: str, seconds: float, concurrency: int, rate: float | None, cadence: float, seed: int, as_json: bool,
    streams: float, probes: bool, **habits: Any,
) -> None:  # fmt: skip
    """Play the family's eval pack through the gateway as labelled probes, over HTTP and WebSocket.

    Sessions come with tenants, devices and codecs; faults of the server are planted with serve --plant.
    """
    from flows.commands.shared import progress_bars, say
    from flows.wiring import open_context
    from operations.traffic import in_lines, play
    from serving.traffic import habits_of

    wanted = habits_of(stream=streams, **habits)
    with progress_bars() as progress:
        context = open_context(progress)
        context.settings.policy(family)
        summary = play(
            context, family, seconds=seconds, concurrency=concurrency, rate_per_s=rate, cadence=cadence, seed=seed,
            habits=wanted, probes=probes,
        )  # fmt: skip
    if as_json:
        say(summary)
    else:
        click.echo("\n".join(in_lines(summary)))
