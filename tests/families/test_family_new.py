"""`soundcheck family new`: what it writes, what it leaves alone, what it refuses; and that its templates learn."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

import families
from contracts.errors import AlreadyExists, WrongCall
from contracts.policy import Task
from evalpacks.metrics import METRICS
from flows.cli import soundcheck
from operations.family_new import create, tasks
from operations.settings import Settings
from tests.flows.release_project import REPOSITORY


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A project whose families/ is the one that engines are loaded from."""
    shutil.copyfile(REPOSITORY / "params.yaml", tmp_path / "params.yaml")
    (tmp_path / "families").mkdir()
    monkeypatch.setattr(families, "__file__", str(tmp_path / "families" / "__init__.py"))
    return Settings(tmp_path, tmp_path / "home")


@pytest.mark.parametrize("task", tasks())
def test_a_template_s_section_is_a_policy_of_its_task(settings: Settings, task: Task) -> None:
    before = (settings.root / "params.yaml").read_text()
    made = create(settings, "door-bells", task, write_params=True)
    after = (settings.root / "params.yaml").read_text()
    assert after == before.rstrip("\n") + "\n\n" + made.section
    policy = Settings(settings.root, settings.home).policy("door-bells")
    assert (policy.family, policy.task) == ("door-bells", task)
    assert {gate.pack for gate in policy.quality} == {"door-bells"}
    assert {gate.metric for gate in policy.quality} <= set(METRICS)
    thresholds = [line for line in made.section.splitlines() if ": {" in line or "- {" in line]
    assert thresholds, "the section has gates"


@pytest.mark.parametrize("task", tasks())
def test_the_code_names_its_family_and_no_placeholder(settings: Settings, task: Task) -> None:
    made = create(settings, "door-bells", task, write_params=False)
    assert made.files == tuple(f"families/door_bells/{name}.py" for name in ("__init__", "engine", "make"))
    _, engine, make = ((settings.root / path).read_text() for path in made.files)
    assert "families.door_bells" in make
    assert "NAME" not in (engine + make).replace("__name__", "")
    assert sum(bool(line.strip()) for line in engine.splitlines()) < 100
    assert sum(bool(line.strip()) for line in (engine + make).splitlines()) < 210
    assert (settings.root / "params.yaml").read_text() == (REPOSITORY / "params.yaml").read_text()


def test_the_command_prints_the_section_and_what_comes_next(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOUNDCHECK_ROOT", str(settings.root))
    done = CliRunner().invoke(soundcheck, ["family", "new", "door-bells", "--task", "classification"])
    assert done.exit_code == 0, done.output
    files, _, section = done.stdout.partition("\n# below `families` in params.yaml:\n")
    assert files.splitlines()[1] == "families/door_bells/engine.py"
    assert set(yaml.safe_load(section)) == {"door-bells"}
    assert done.stderr.splitlines()[-1].strip() == "soundcheck release door-bells --candidate v1"


@pytest.mark.parametrize("name", ["Bells", "door bells", "door_bells", "-bells", "bells-", "../bells", "9bells", ""])
def test_what_is_no_name_is_refused(settings: Settings, name: str) -> None:
    with pytest.raises(WrongCall) as wrong:
        create(settings, name, "classification", write_params=True)
    assert str(wrong.value) == (
        "this is no name of a family\n"
        + (f"  got: {name}\n" if name else "")
        + "  expected: lower-case letters, digits and hyphens, like door-bells"
    )
    assert not list((settings.root / "families").iterdir())


def test_a_family_that_is_there_is_left_alone(settings: Settings) -> None:
    create(settings, "bells", "classification", write_params=False)
    engine = settings.root / "families" / "bells" / "engine.py"
    engine.write_text("mine")
    for name, where in {"bells": engine.parent, "asr-en": settings.root / "params.yaml"}.items():
        with pytest.raises(AlreadyExists) as there:
            create(settings, name, "transcription", write_params=True)
        assert str(there.value) == (
            f"the family {name!r} is already there\n  where: {where}\n  next step: choose another name"
        )
    assert engine.read_text() == "mine"


def test_a_project_that_is_no_checkout_is_told_so(settings: Settings, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    shutil.copyfile(REPOSITORY / "params.yaml", other / "params.yaml")
    with pytest.raises(WrongCall) as wrong:
        create(Settings(other, other / "home"), "bells", "classification", write_params=True)
    assert str(wrong.value) == (
        "this project is not the checkout that engines are loaded from\n"
        f"  where: {other}\n"
        f"  got: families/ is {tmp_path / 'families'}\n"
        "  next step: work in a clone of Soundcheck, and install it there (make install)"
    )


@pytest.mark.parametrize(
    "text",
    ["defaults: {}\nfamilies:\n  one: {}\nprices: {}\n", "defaults: {}\nfamilies:\n    one: {}\n"],
    ids=["another key is last", "indented by four"],
)
def test_params_that_the_section_does_not_fit_stay_as_they_are(settings: Settings, text: str) -> None:
    params = settings.root / "params.yaml"
    params.write_text(text)
    with pytest.raises(WrongCall) as wrong:
        create(settings, "bells", "classification", write_params=True)
    assert str(wrong.value) == (
        "the section cannot be added at the end of params.yaml\n"
        f"  where: {params}\n"
        "  expected: `families` as the last key, its families indented by two spaces\n"
        "  next step: leave --write-params away, and write the section that is printed below `families`"
    )
    assert params.read_text() == text
    assert not list((settings.root / "families").iterdir())
