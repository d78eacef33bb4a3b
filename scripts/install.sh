#!/usr/bin/env bash
# Builds .venv from requirements.lock. Needs Python 3.11 and pip, nothing else: uv is installed into .venv first, because
# it installs this lock in seconds where pip takes minutes.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
  echo "soundcheck needs Python 3.11; got: $("$python" --version 2>&1 || echo none). Next step: PYTHON=/path/to/python3.11 make install" >&2
  exit 3
fi
"$python" -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$(sed -n 's/^uv==//p' scripts/tools.txt)"
arguments=()
# Wheels that lie on disk (the CPU build of torch): pip knows their folder, uv is told.
for folder in ${PIP_FIND_LINKS:-$(.venv/bin/python -m pip config get global.find-links 2>/dev/null || true)}; do
  arguments+=(--find-links "$folder")
done
export UV_HTTP_TIMEOUT=180 SSL_CERT_FILE=${SSL_CERT_FILE:-${PIP_CERT:-}}
[ -n "$SSL_CERT_FILE" ] || unset SSL_CERT_FILE
index=$(.venv/bin/python -m pip config get global.index-url 2>/dev/null || true)
[ -z "$index" ] || arguments+=(--index-url "$index")
# Bytecode is made once, here: a release starts many processes, and some machines forbid Python to keep it.
.venv/bin/uv pip install --quiet --compile-bytecode --python .venv/bin/python --no-deps "${arguments[@]}" -r requirements.lock
.venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation -e .
.venv/bin/python -m compileall -q contracts speech evalpacks registry pages serving monitoring operations tasks flows families
