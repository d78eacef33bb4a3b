"""The command line as programs meet it: light imports, JSON, exit statuses, anyone's transcripts and telemetry."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from flows.cli import COMMANDS
from tests.flows.release_project import soundcheck

HEAVY = ("torch", "pandas", "numpy", "prefect", "mlflow", "great_expectations", "scipy", "numba", "fastapi", "boto3")


@pytest.mark.parametrize("words", [["--help"], ["status"], ["release", "--help"], ["rollback", "--help"]])
def test_commands_that_answer_at_once_import_nothing_heavy(project: Path, words: list[str]) -> None:
    code = (
        "import sys; from flows.cli import main\n"
        f"try: main({words!r})\nexcept SystemExit: pass\n"
        f"sys.stderr.write(repr([name for name in {HEAVY!r} if name in sys.modules]))"
    )
    environment = {"SOUNDCHECK_ROOT": str(project), "PATH": "", "HOME": str(project)}
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == "[]"


def test_every_command_is_documented_and_teaches(project: Path) -> None:
    overview = soundcheck(project, "--help").stdout
    for name in COMMANDS:
        assert f"\n  {name} " in overview
        answer = soundcheck(project, name, "--help")
        assert answer.returncode == 0
        assert answer.stdout.startswith("Usage: ")


def _lines(path: Path, rows: list[dict[str, str]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def _transcripts(folder: Path) -> dict[str, str]:
    references = [
        {"utterance_id": f"u{number}", "text": "turn the light on", "speaker": f"s{number % 12}",
         "accent": ("us", "scottish")[number % 2]}
        for number in range(120)
    ]  # fmt: skip
    good = [{"utterance_id": row["utterance_id"], "text": row["text"]} for row in references]
    bad = [row | {"text": "turn light off"} if number % 2 else row for number, row in enumerate(good)]
    return {
        "refs": _lines(folder / "r.jsonl", references),
        "good": _lines(folder / "g.jsonl", good),
        "bad": _lines(folder / "b.jsonl", bad),
        "part": _lines(folder / "p.jsonl", good[:-2]),
    }


def test_score_tells_slices_difference_and_verdict(project: Path, tmp_path: Path) -> None:
    files = _transcripts(tmp_path)
    words = ["score", "--refs", files["refs"], "--hyps", files["bad"], "--slices", "accent", "--json"]
    alone = soundcheck(project, *words)
    assert alone.returncode == 0, alone.stderr
    report = json.loads(alone.stdout)
    assert report["slices"]["accent=scottish"] == {
        "wer": 0.5, "substitutions": 60, "deletions": 60, "insertions": 0, "reference_words": 240
    }  # fmt: skip
    assert (report["delta"], report["verdict"]) == ({}, None)
    judged = soundcheck(project, *words, "--baseline", files["good"])
    report = json.loads(judged.stdout)
    assert judged.returncode == 1
    assert report["verdict"]["value"] == "fail"
    assert report["delta"]["accent=scottish"]["wer"]["estimate"] == 0.5
    assert report["delta"]["accent=us"]["wer"]["estimate"] == 0


def test_a_missing_hypothesis_is_a_wrong_call_that_is_counted_and_named(project: Path, tmp_path: Path) -> None:
    files = _transcripts(tmp_path)
    answer = soundcheck(project, "score", "--refs", files["refs"], "--hyps", files["part"])
    assert answer.returncode == 2
    assert "2" in answer.stderr
    assert "u118" in answer.stderr
    assert "Traceback" not in answer.stderr


def _telemetry(path: Path, *, canary_wer: float) -> str:
    generator = np.random.default_rng(1)
    rows = [
        {"timestamp": 1000.0 + number, "session_id": f"s{number}", "arm": ("stable", "canary")[number % 2],
         "accent": ("us", "scottish")[number // 2 % 2], "words": 20.0,
         "errors": float(generator.binomial(20, canary_wer if number % 2 else 0.1)), "privacy_errors": 0}
        for number in range(600)
    ]  # fmt: skip
    pd.DataFrame(rows).to_parquet(path)
    return str(path)


def test_judge_replays_telemetry_to_its_first_decision(project: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    wer = {"kind": "ratio", "numerator": "errors", "denominator": "words", "better": "lower", "margin": 0.02}
    never = {"kind": "never", "column": "privacy_errors"}
    plan.write_text(
        yaml.safe_dump(
            {"metrics": {"wer": wer, "privacy": never}, "slices": ["accent"], "alpha": 0.05, "deadline_s": 7200}
        )
    )
    table = _telemetry(tmp_path / "t.parquet", canary_wer=0.4)
    answer = soundcheck(project, "judge", "--telemetry", table, "--plan", str(plan), "--json")
    result = json.loads(answer.stdout)
    assert answer.returncode == 1
    assert result["decision"] == "rollback"
    assert 1000 < result["at"] < 1600
    assert result["slices"]["overall"]["wer"]["state"] == "worse"
    better = _telemetry(tmp_path / "b.parquet", canary_wer=0.01)
    answer = soundcheck(project, "judge", "--telemetry", better, "--plan", str(plan), "--json")
    assert (answer.returncode, json.loads(answer.stdout)["decision"]) == (0, "promote")


def test_a_wrong_plan_is_told_its_field(project: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text("metrics: {wer: {kind: mean}}\ndeadline_s: 10\n")
    table = _telemetry(tmp_path / "t.parquet", canary_wer=0.1)
    answer = soundcheck(project, "judge", "--telemetry", table, "--plan", str(plan))
    assert answer.returncode == 2
    assert "metrics.wer.kind" in answer.stderr
