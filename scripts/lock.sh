#!/usr/bin/env bash
# Makes requirements.lock (no registry addresses in it) from pyproject.toml; scripts/overrides.txt leaves out what some
# packages ask for and do not need.
set -euo pipefail
cd "$(dirname "$0")/.."
arguments=()
for folder in ${PIP_FIND_LINKS:-$(python -m pip config get global.find-links 2>/dev/null || true)}; do
  arguments+=(--find-links "$folder")
done
python scripts/check_repository.py --print-requirements |
  uv pip compile --quiet --python-version 3.11 --no-annotate --no-header --override scripts/overrides.txt "${arguments[@]}" -o requirements.lock "$@" -
