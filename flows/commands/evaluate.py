"""Commands that judge: transcripts, telemetry, a bundle through a fresh API, a stable bundle again."""

from __future__ import annotations

from pathlib import Path

import click

EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--refs", required=True, type=EXISTING, help="References.")
@click.option("--hyps", required=True, type=EXISTING, help="Hypotheses of the system to score.")
@click.option("--baseline", type=EXISTING, default=None, help="Hypotheses of the system to compare with.")
@click.option("--slices", default="", help="Columns of the references, separated by commas; a&b: combinations.")
@click.option("--normalizer", type=click.Choice(["none", "basic", "english"]), default="none", show_default=True)
@click.option(
    "--margin",
    type=click.FloatRange(min=0),
    metavar="M",
    default=0.01,
    show_default=True,
    help="WER that a slice may lose (0.01 is a point).",
)
@click.option(
    "--alpha",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="A",
    default=0.05,
    show_default=True,
    help="Family-wise error of the bounds.",
)
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def score(
    refs: Path,
    hyps: Path,
    baseline: Path | None,
    slices: str,
    normalizer: str,
    margin: float,
    alpha: float,
    as_json: bool,
) -> None:
    """Score anyone's transcripts: WER by slice, and against a baseline with bounds and a verdict.

    \b
    Files are JSON Lines, .csv with a header, or .trn (`words (id)`). References hold utterance_id, text, the columns
    to slice by and, so that bounds respect it, speaker; hypotheses hold utterance_id and text:
      {"utterance_id": "u1", "text": "turn the light on", "speaker": "s1", "accent": "us"}

    \b
      soundcheck score --refs refs.jsonl --hyps new.jsonl --slices accent
      soundcheck score --refs refs.jsonl --hyps new.jsonl --baseline old.trn --slices "accent,accent&noise"

    Exit status with a baseline: 0 pass, 1 worse or undecided. Bounds are simultaneous over all slices.
    """
    from evalpacks.transcript_scores import score_transcripts
    from evalpacks.transcripts import read_transcripts as read
    from flows.commands.score_text import score_lines
    from flows.commands.shared import say

    report = score_transcripts(
        read(refs), read(hyps), read(baseline) if baseline else None,
        slices=[name for name in slices.split(",") if name], normalizer=normalizer, margin=margin, alpha=alpha,
    )  # fmt: skip
    if as_json:
        say(report)
    else:
        click.echo("\n".join(score_lines(report)))
    verdict = report["verdict"]
    raise SystemExit(int(verdict is not None and verdict["value"] != "pass"))


@click.command()
@click.option("--telemetry", required=True, type=EXISTING, help="A Parquet table, one row a request.")
@click.option("--plan", required=True, type=EXISTING, help="YAML: metrics, slices, alpha, deadline_s ...")
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")
def judge(telemetry: Path, plan: Path, as_json: bool) -> None:
    """The canary judge on anyone's telemetry: replayed in time order, up to the first terminal decision."""
    from flows.commands.shared import say
    from operations.judging import judge_file

    result = judge_file(telemetry, plan)
    if as_json:
        say(result)
    else:
        click.echo(f"{result['decision']} at {result['at']}")
        for reason in result["reasons"]:
            click.echo(f"  {reason}")
    raise SystemExit(int(result["decision"] != "promote"))


@click.command()
@click.argument("bundle")
@click.option("--fixtures", default=None, metavar="PACK", help="Play this pack; else the golden fixtures.")
@click.option("--json", "as_json", is_flag=True, help="The replay report as JSON on stdout.")
def replay(bundle: str, fixtures: str | None, as_json: bool) -> None:
    """Staged replay of a bundle against a fresh production API in a process of its own."""
    from flows.commands.shared import progress_bars, say
    from flows.wiring import open_context
    from operations.packs import fixture_paths
    from operations.rollback import find_family
    from operations.stage import replay as operation

    with progress_bars() as progress:
        context = open_context(progress)
        family, digest = find_family(context, bundle)
        paths = fixture_paths(context, fixtures) if fixtures else []
        report = operation(context, context.settings.policy(family), digest, rehearse_with=None, fixtures=paths)
    if as_json:
        say(report.as_json())
    else:
        for check in report.checks:
            click.echo(
                f"{check.verdict.value.value:<13} {check.clause:<5} {check.name}: {'; '.join(check.verdict.reasons)}"
            )
    raise SystemExit(int(report.verdict.value.value != "pass"))


@click.command()
@click.argument("family")
@click.option("--json", "as_json", is_flag=True, help="The evaluation as JSON on stdout.")
@click.option("--window", type=click.Choice(["6", "12", "24"]), default=None, metavar="HOURS",
              help="Hours of a window (6, 12 or 24), in place of what params.yaml says.")  # fmt: skip
def drift(family: str, as_json: bool, window: str | None) -> None:
    """Did anything change under the stable bundle? Its packs are scored again, its traffic is compared with before.

    Exit status 1 where something is found, or cannot be settled (docs/drift.md).
    """
    from flows.commands.shared import progress_bars, say
    from flows.wiring import open_context
    from operations.drift import drift as operation
    from operations.drift import page_path

    with progress_bars() as progress:
        context = open_context(progress)
        found = operation(context, family, window_h=int(window) if window else None)
    if as_json:
        say(found.as_json())
    else:
        click.echo(f"{found.verdict.value.value}: {found.outcome.replace('_', ' ')}")
        for reason in found.verdict.reasons:
            click.echo(f"  {reason}")
        for command in found.commands:
            click.echo(f"  run: {command}")
        click.echo(f"  page: {page_path(context, family)}")
    raise SystemExit(int(found.verdict.value.value != "pass"))
