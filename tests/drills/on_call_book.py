"""The on-call book: a page a drill, made from the scenario files that the drills inject.

    python -m tests.drills.on_call_book          write docs/on-call
    python -m tests.drills.on_call_book --check  exit status 1 where it is stale

Boundary: reads scenarios/*.yaml and sources.yaml, writes docs/on-call. Source: coverage row 46.
Invariants: nothing in the book is written by hand; what the drill plants and must end in stands on its page, so that a
page that is true today fails its drill the day it is not.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import yaml

HERE = Path(__file__).parent
SCENARIOS, SOURCES = HERE / "scenarios", HERE / "sources.yaml"
BOOK = HERE.parents[1] / "docs" / "on-call"
GENERATED = "<!-- Made by `python -m tests.drills.on_call_book` from tests/drills; do not edit. -->"

FINDS = {
    "canary": ("the canary's judge", "soundcheck status FAMILY"),
    "gate": ("the release's gates, before anything is packaged", "soundcheck status FAMILY"),
    "staging": ("the staged replay, before any canary", "soundcheck status FAMILY"),
    "drift": ("the drift evaluation", "soundcheck drift FAMILY"),
    "incident": ("the incident's first look", "soundcheck incident open FAMILY --since 30m"),
}
"""What finds a drill's fault, and the first command to ask it."""
ACTIONS = {
    "promote": "",
    "nothing": "",
    "stopped": "",
    "partial_rollback": "soundcheck rollback FAMILY --key KEY --reason TEXT",
    "rollback": "soundcheck rollback FAMILY --key KEY --reason TEXT",
    "pause": "soundcheck freeze FAMILY",
    "degrade": "soundcheck degrade FAMILY --mode no_partials --key KEY --reason TEXT",
    "ticket": "soundcheck drift FAMILY --json",
    "propose_slice": "soundcheck pack check data/packs/NAME",
    "propose_pack": "soundcheck pack check data/packs/NAME",
    "page": "soundcheck incident open FAMILY --since 24h",
    "recommend_rollback": "soundcheck rollback FAMILY --key KEY --reason TEXT",
}
"""The command of the action that a drill must end in."""


def book(scenarios: Path = SCENARIOS, sources: Path = SOURCES) -> dict[str, str]:
    """The whole book: text by file name. Raises KeyError naming what a scenario lacks."""
    paths = sorted(scenarios.glob("*.yaml"), key=lambda path: int(path.stem.partition("-")[0]))
    drills = {path.stem: yaml.safe_load(path.read_text()) for path in paths}
    named: list[dict[str, Any]] = yaml.safe_load(sources.read_text())
    faults = {stem: drill for stem, drill in drills.items() if drill.get("symptom", "none").split(";")[0] != "none"}
    pages = {f"{stem}.md": page(stem, drill, named) for stem, drill in faults.items()}
    return {"README.md": index(faults, named), **pages}


def page(stem: str, drill: dict[str, Any], sources: list[dict[str, Any]]) -> str:
    """One drill, as somebody reads it who was woken by it."""
    asked = [f'source {one["source"]}, "{one["drill"]}"' for one in sources if stem in one["scenarios"]]
    finder, _ = FINDS[found_by(drill)]
    lines = [
        GENERATED, f"# {drill['name'][:1].upper()}{drill['name'][1:]}", "",
        _sentence(drill["symptom"]), "",
        "## Query", "", *(f"- {line}" for line in drill["look_at"]), "", *queries(drill), "",
        "## First action", "", _sentence(drill["mitigation"]), "", *_action(drill), "",
        "## Rollback trigger", "", _sentence(drill["trigger"]), "",
        "## Prevention", "", _sentence(drill["prevention"]), "",
        "## How it is rehearsed", "",
        f"`make drills` injects it (`tests/drills/scenarios/{stem}.yaml`). It is found by {finder}, and must end in:",
        "",
        "```yaml", *yaml.safe_dump(drill["expect"], sort_keys=False).splitlines(), "```", "",
    ]  # fmt: skip
    if planted := {key: drill[key] for key in ("plant", "candidate", "traffic") if key in drill}:
        lines += ["What is planted:", "", "```yaml", *yaml.safe_dump(planted, sort_keys=False).splitlines(), "```", ""]
    return "\n".join(lines + ([f"It is drilled for {'; '.join(asked)}."] if asked else [])).rstrip() + "\n"


def found_by(drill: dict[str, Any]) -> str:
    """What must find the drill's fault; a scenario that says nothing is a canary's, or staging's where it stops."""
    return str(drill.get("found_by", "staging" if drill["expect"]["decision"] == "stopped" else "canary"))


def queries(drill: dict[str, Any]) -> list[str]:
    """What to run first: the command that asks what finds it, and the drill's own figures from telemetry."""
    lines = ["```", FINDS[found_by(drill)][1], "```"]
    if figures := _figures(drill):
        lines += ["", "```python", *_READ.splitlines(), *figures, "```"]
    return lines


_READ = """\
import time
from pathlib import Path
from serving.telemetry import read

rows = read(Path(".soundcheck/telemetry"), "FAMILY", time.time() - 1800)"""


def _figures(drill: dict[str, Any]) -> list[str]:
    lines = []
    for name, metric in drill.get("metrics", {}).items():
        by = json.dumps(["arm", *metric.get("slices", drill.get("slices", []))])
        if metric["kind"] == "ratio":
            numerator = metric.get("numerator", "errors" if name == "wer" else name)
            denominator = metric.get("denominator", "words" if name == "wer" else "requests")
            lines.append(f"by = rows.groupby({by})")
            lines.append(f'print(by["{numerator}"].sum() / by["{denominator}"].sum())  # {name}')
        elif metric["kind"] == "quantile":
            column = metric.get("column", name)
            lines.append(f'print(rows.groupby({by})["{column}"].quantile({metric["quantile"]}))  # {name}')
    if refusal := drill["expect"].get("refusal"):
        lines.append(f'refused = rows[rows["error_code"] == "{refusal}"]')
        lines.append('print(refused.groupby(["device", "sent_rate_hz"]).size())')
    return lines


def _action(drill: dict[str, Any]) -> list[str]:
    expected = drill["expect"]
    command = ACTIONS[expected["decision"]]
    if expected["decision"] == "partial_rollback":
        command += "".join(f" --slice {name}" for name in expected["slices"])
    if expected["decision"] == "rollback" and found_by(drill) == "canary":
        command = "soundcheck abort FAMILY"
    return ["```", command, "```"] if command else []


def _sentence(text: str) -> str:
    said = " ".join(text.split())
    return f"{said[:1].upper()}{said[1:]}{'' if said.endswith('.') else '.'}"


def index(drills: dict[str, dict[str, Any]], sources: list[dict[str, Any]]) -> str:
    """The book's first page: from what is noticed to the drill, and from each drill of the sources to its pages."""
    opening = dedent("""\
        # On-call book

        A page a drill: what people notice, what to ask first, the first action, what triggers a rollback, what prevents
        it next time. The pages are made from the files that `make drills` injects into a running system, each of which
        must end in the action that its page names. FAMILY, KEY and TEXT are yours to fill in.
        """)
    rows = [f"| {_sentence(drill['symptom'])} | [{drill['name']}]({stem}.md) |" for stem, drill in drills.items()]
    named = [
        f"| {one['source']} | {one['drill']} | " + ", ".join(f"[{stem}]({stem}.md)" for stem in one["scenarios"]) + " |"
        for one in sources
    ]
    return "\n".join(
        [GENERATED, opening, "| what people notice | page |", "|---|---|", *rows, "",
         "## The drills of the sources", "", "| source | drill | page |", "|---|---|---|", *named, ""]
    )  # fmt: skip


def stale(folder: Path = BOOK, scenarios: Path = SCENARIOS) -> list[str]:
    """Names of pages that are missing, changed, or nobody's."""
    wanted = book(scenarios)
    present = {path.name: path.read_text() for path in folder.glob("*.md")}
    return sorted(name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name))


def main(arguments: list[str]) -> int:
    """Write the book, or say what is stale."""
    pages = stale()
    if "--check" in arguments:
        sys.stderr.write(indent("".join(f"{name} is stale\n" for name in pages), "docs/on-call/"))
        return int(bool(pages))
    BOOK.mkdir(parents=True, exist_ok=True)
    wanted = book()
    for name in pages:
        if name in wanted:
            (BOOK / name).write_text(wanted[name])
        else:
            (BOOK / name).unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
