"""A candidate folder: what training leaves behind (`candidates/FAMILY/VERSION/`).

Boundary: reads the folder and asks git about the work tree; writes nothing.
Invariants: candidate.yaml is read without tags or code (fault 53); nothing outside the folder is followed.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import ClassVar, Literal

import yaml
from pydantic import JsonValue, ValidationError

from contracts.document import Document
from contracts.errors import Refused, WrongCall
from contracts.feature_contract import FeatureContract
from operations.settings import Settings


class Candidate(Document):
    """candidate.yaml in typed form."""

    KIND: ClassVar[str] = "candidate"

    family: str
    version: str
    origin: Literal["own", "third_party"]
    base_model: str
    licence: str
    languages: tuple[str, ...]
    hyperparameters: dict[str, JsonValue] = {}
    seeds: dict[str, int] = {}
    training_code_sha: str
    registry: dict[str, JsonValue] = {}
    provenance: dict[str, JsonValue] = {}
    notes: str = ""


def find(settings: Settings, family: str, candidate: str) -> Path:
    """The folder that `candidate` means: a path, a version of the family, or `latest` (the newest folder)."""
    shelf = settings.root / "candidates" / family
    versions = sorted(
        (folder for folder in shelf.glob("*") if (folder / "candidate.yaml").is_file()), key=lambda f: f.stat().st_mtime
    )
    if candidate == "latest" and versions:
        return versions[-1]
    for folder in (Path(candidate), shelf / candidate):
        if candidate != "latest" and (folder / "candidate.yaml").is_file():
            return folder.resolve()
    raise WrongCall(
        "there is no such candidate",
        where=family,
        got=candidate,
        expected="a folder with candidate.yaml" + "".join(f", or {folder.name}" for folder in versions),
        next_step="train one (`make train`), or name the folder that training wrote",
    )


def read(folder: Path, family: str) -> Candidate:
    """candidate.yaml; Refused with its place where it is malformed, WrongCall where it is another family's."""
    path = folder / "candidate.yaml"
    try:
        candidate = Candidate.model_validate(yaml.safe_load(path.read_text()))
    except yaml.YAMLError as error:
        raise Refused("candidate.yaml does not parse", where=str(path), got=str(error).split("\n")[0]) from None
    except ValidationError as error:
        lacks = sorted(str(part["loc"][0]) for part in error.errors() if part["type"] == "missing")
        first = error.errors(include_input=False)[0]
        raise Refused(
            "candidate.yaml is not complete" if lacks else "candidate.yaml has a wrong value",
            where=str(path),
            got="missing: " + ", ".join(lacks) if lacks else f"{first['loc'][0]}: {first['msg']}",
            expected="the fields of operations/candidate.py",
            next_step="add them and run the release again",
        ) from None
    if candidate.family != family:
        raise WrongCall(
            "the candidate belongs to another family", where=str(path), got=candidate.family, expected=family,
            next_step=f"soundcheck release {candidate.family} --candidate {folder}",
        )  # fmt: skip
    return candidate


def feature_contract(payload: Path) -> FeatureContract:
    """The payload's feature contract."""
    path = payload / "feature_contract.json"
    if not path.is_file():
        raise Refused(
            "the payload has no feature contract",
            where=str(path),
            expected="feature_contract.json beside the weights",
            next_step="export it with the model (speech/ctc/export.py shows how)",
        )
    return FeatureContract.parse(path.read_bytes(), where=path.name)


def changed_files(root: Path) -> list[str] | None:
    """Uncommitted files of the work tree, dvc.lock aside (R1.3); None where git does not know the folder."""
    answer = _git(root, "status", "--porcelain", "--untracked-files=all")
    if answer is None:
        return None
    names = [line[3:].strip('"') for line in answer.splitlines()]
    return [name for name in names if name != "dvc.lock"]


def head(root: Path) -> str:
    """The commit that is checked out, or `none: not a git work tree`."""
    answer = _git(root, "rev-parse", "HEAD")
    return answer.strip() if answer else "none: not a git work tree"


def _git(root: Path, *words: str) -> str | None:
    try:
        return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
