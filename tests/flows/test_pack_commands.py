"""`soundcheck pack`: what a person sees, what a program reads, and the exit statuses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml

from evalpacks.pack import load
from flows.cli import main
from tests.evalpacks.pack_folders import PLANTED, change_card, change_table, make_folder, setting

REPOSITORY = Path(__file__).resolve().parents[2]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("good") / "tiny")


@pytest.fixture
def root(good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose family asr-commands is judged by the pack `tiny`, without servers."""
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    params["families"]["asr-commands"]["quality"][0]["pack"] = "tiny"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    shutil.copytree(good, tmp_path / "data" / "packs" / "tiny")
    monkeypatch.setenv("SOUNDCHECK_ROOT", str(tmp_path))
    monkeypatch.setenv("SOUNDCHECK_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def run(root: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command: exit status, stdout, stderr."""

    def command(*words: str) -> tuple[int, str, str]:
        status = 0
        try:
            main(["pack", *words])
        except SystemExit as done:
            status = int(done.code or 0)
        said = capsys.readouterr()
        return status, said.out, said.err

    return command


def trained(root: Path, family: str, version: str, **columns: str) -> Path:
    """The data manifest of a candidate, of one row."""
    path = root / "candidates" / family / version / "data_manifest.parquet"
    path.parent.mkdir(parents=True)
    pd.DataFrame([{"sha256": "0" * 64, "speaker": "other"} | columns]).to_parquet(path)
    return path


def test_a_good_pack_exits_0_and_says_what_it_could_show(root: Path, run: Run) -> None:
    trained(root, "asr-commands", "v1")
    status, out, err = run("check", "tiny")
    assert status == 0, err
    assert "0 errors, 0 warnings; normaliser none; compared with training data of asr-commands/v1\n" in out
    lines = [line.split() for line in out.splitlines()]
    assert ["accent=us", "20", "10", "80", "0.3"] in [line[:5] for line in lines]
    assert "from a WER of 10%: the rise that fails in 95% of runs among 3 slices judged together" in out
    assert "recordings: 40 of 40" in err


def test_a_bad_pack_exits_1_and_names_utterances_and_the_next_step(root: Path, run: Run) -> None:
    folder = root / "data" / "packs" / "tiny"
    change_table(folder, setting("text", f"[{PLANTED}]"))
    status, out, _ = run("check", "tiny")
    assert status == 1
    assert (
        "  error    markup: texts have markup or notes in brackets: 1 utterance (u000)\n"
        "           next step: write what is said, and only that\n"
    ) in out
    assert PLANTED not in out


def test_training_data_of_the_families_it_judges_is_compared(root: Path, run: Run) -> None:
    trained(root, "asr-commands", "v1", speaker="s03")
    trained(root, "asr-en", "other", speaker="s04")
    status, out, _ = run("check", "tiny", "--json")
    report = json.loads(out)
    assert (status, report["errors"]) == (1, 1)
    assert report["training_data"] == ["asr-commands/v1"]
    assert report["findings"][0] == {
        "code": "leaked_speaker", "severity": "error", "of": "speaker", "count": 1, "names": ["s03"],
        "message": "speakers are in the training data (asr-commands/v1): 1 speaker (s03)",
        "next_step": "train without them, or leave them out",
    }  # fmt: skip


def test_training_data_that_is_named_is_compared_alone(root: Path, run: Run) -> None:
    trained(root, "asr-commands", "v1", speaker="s03")
    other = root / "other.csv"
    other.write_text(f"sha256,speaker\n{load(root / 'data' / 'packs' / 'tiny').utterances['sha256'][7]},x\n")
    _, out, _ = run("check", "tiny", "--against", str(other), "--json")
    assert [one["message"] for one in json.loads(out)["findings"]] == [
        f"audio is in the training data ({other}): 1 utterance (u007)"
    ]


def test_a_pack_that_judges_no_family_is_compared_with_all(root: Path, run: Run) -> None:
    trained(root, "asr-commands", "v1")
    trained(root, "asr-en", "own")
    folder = root / "data" / "packs" / "tiny"
    folder.rename(folder.with_name("spare"))
    _, out, _ = run("check", "spare", "--json")
    assert json.loads(out)["training_data"] == ["asr-commands/v1", "asr-en/own"]


@pytest.mark.parametrize(("words", "warnings"), [((), 1), (("--normalizer", "english"), 0)])
def test_the_normaliser_is_that_of_the_family_unless_named(
    root: Path, run: Run, words: tuple[str, ...], warnings: int
) -> None:
    change_table(root / "data" / "packs" / "tiny", setting("text", f"{PLANTED} 36 on"))
    status, out, _ = run("check", "tiny", "--json", *words)
    report = json.loads(out)
    assert (status, report["warnings"]) == (0, warnings)
    assert report["normalizers"] == list(words[1:] or ["none"])


def test_a_folder_is_checked_outside_of_any_project(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SOUNDCHECK_ROOT", raising=False)
    with pytest.raises(SystemExit) as done:
        main(["pack", "check", str(good)])
    assert done.value.code == 0
    assert "compared with no training data" in capsys.readouterr().out


@pytest.mark.parametrize("command", [["check", "nowhere"], ["show", "nowhere"], ["diff", "tiny", "nowhere"]])
def test_a_pack_that_is_not_there_is_a_wrong_call(run: Run, command: list[str]) -> None:
    status, _, err = run(*command)
    assert status == 2
    assert "there is no such eval pack" in err
    assert "next step: soundcheck pack build nowhere, or soundcheck pack new nowhere --from FOLDER" in err


def test_a_manifest_without_speakers_is_a_wrong_call(root: Path, run: Run) -> None:
    (root / "t.csv").write_text("sha256\nx\n")
    status, _, err = run("check", "tiny", "--against", str(root / "t.csv"))
    assert status == 2
    assert "a training data manifest lacks columns" in err
    assert "got: missing: speaker" in err


def test_show_tells_what_every_slice_holds(root: Path, run: Run) -> None:
    change_card(root / "data" / "packs" / "tiny", high_risk=["accent=us&noise=5db"])
    status, out, _ = run("show", "tiny")
    assert status == 0
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.startswith("  ")}
    assert rows["overall"] == ["40", "20", "160", "0.7"]
    assert rows["accent=us"] == ["20", "10", "80", "0.3", "P"]
    assert rows["noise=5db"] == ["20", "20", "80", "0.3"]
    assert rows["accent=us&noise=5db"] == ["10", "10", "40", "0.2", "H"]


def test_diff_exits_0_for_the_same_pack_and_1_for_another(root: Path, run: Run, good: Path) -> None:
    assert run("diff", "tiny", str(good))[0] == 0
    change_table(root / "data" / "packs" / "tiny", setting("text", "other words"))
    status, out, _ = run("diff", str(good), "tiny")
    assert status == 1
    assert "scores compare only on the 39 utterances that are the same in both (of 40 and 40)" in out
    assert "text changed: 1 utterance (u000)" in out
    assert "other words" not in out
    status, out, _ = run("diff", str(good), "tiny", "--json")
    assert (status, json.loads(out)["changed"]) == (1, {"text": ["u000"]})


def test_diff_shows_texts_where_both_cards_allow_it(root: Path, run: Run, good: Path) -> None:
    before, after = root / "before", root / "data" / "packs" / "tiny"
    shutil.copytree(good, before)
    for folder in (before, after):
        change_card(folder, show_transcripts=True)
    change_table(after, setting("text", "other words"))
    assert f"    u000: '{PLANTED} on a' -> 'other words'\n" in run("diff", str(before), "tiny")[1]


def test_control_characters_of_a_pack_do_not_reach_the_terminal(root: Path, run: Run, good: Path) -> None:
    folder = root / "data" / "packs" / "tiny"
    change_card(folder, title="tiny\x1b[31m", licence="CC0\u202e")
    change_table(folder, setting("utterance_id", "u0\x1b]0;owned\x07"))
    change_table(folder, setting("text", "[noise]"))
    for words in (["check", "tiny"], ["show", "tiny"], ["diff", "tiny", str(good)]):
        _, out, err = run(*words)
        assert not {"\x1b", "\x07", "\u202e"} & set(out + err)
    change_table(folder, setting("speaker", ""))
    assert "got: 1 row (u0?]0;owned?)" in run("show", "tiny")[2]


NEW = ["--language", "en", "--slices", "accent", "--protected", "accent=us", "--min-words", "50",
       "--source", "a test", "--licence", "CC0-1.0", "--consent", "no person's voice"]  # fmt: skip


def test_new_makes_a_pack_and_says_what_check_says(root: Path, run: Run, good: Path) -> None:
    table = load(good).utterances[["utterance_id", "text", "speaker", "accent", "noise"]]
    table.to_csv(root / "t.csv", index=False)
    words = ["new", "mine", "--from", str(good / "audio"), "--table", str(root / "t.csv"), *NEW]
    status, out, err = run(*words)
    assert status == 0, err
    made = load(root / "data" / "packs" / "mine")
    assert made.meta.title == "mine"
    assert made.meta.min_support == {"speakers": 10, "words": 50}
    assert f"mine: 40 recordings copied to {made.root}\n" in out
    assert "  not taken: columns noise; name them with --slices to slice by them\n" in out
    assert "0 errors, 0 warnings" in out
    assert "pack mine: 40 of 40" in err
    status, _, err = run(*words)
    assert status == 1
    assert "the pack 'mine' is already there" in err


@pytest.mark.parametrize("name", ["../elsewhere", "My pack", ".hidden"])
def test_new_refuses_a_name_that_is_none(root: Path, run: Run, good: Path, name: str) -> None:
    status, _, err = run("new", name, "--from", str(good / "audio"), *NEW)
    assert status == 2
    assert f"this is no name of a pack\n  got: {name}\n" in err
    assert [path.name for path in (root / "data").iterdir()] == ["packs"]


@pytest.mark.parametrize("option", ["--source", "--licence", "--consent"])
def test_new_refuses_without_rights(run: Run, good: Path, option: str) -> None:
    place = NEW.index(option)
    status, _, err = run("new", "mine", "--from", str(good / "audio"), *NEW[:place], *NEW[place + 2 :])
    assert status == 2
    assert f"Missing option '{option}'" in err
