#!/usr/bin/env bash
# Runs the steps of the Containerfile without a container engine: the committed files in an empty folder, an empty home,
# a clean environment; then asks the installed command for its version and serves.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir "$root/home"
git archive --format=tar --prefix=soundcheck/ HEAD | tar -x -C "$root"
cd "$root/soundcheck"
run() { env -i HOME="$root/home" PATH="$(dirname "$(command -v python3)"):/usr/bin:/bin" \
  ${PIP_CERT:+PIP_CERT="$PIP_CERT"} ${PIP_FIND_LINKS:+PIP_FIND_LINKS="$PIP_FIND_LINKS"} "$@"; }
run bash scripts/install.sh
run .venv/bin/soundcheck --version
run .venv/bin/python - <<'PY'
import subprocess, sys, time, urllib.request
server = subprocess.Popen([sys.executable, "-m", "flows.cli", "serve", "--port", "18080"])
try:
    for _ in range(150):
        time.sleep(0.2)
        try:
            assert urllib.request.urlopen("http://127.0.0.1:18080/healthz").status == 200
            break
        except OSError:
            assert server.poll() is None, "the gateway ended"
    else:
        sys.exit("the gateway did not answer")
finally:
    server.terminate()
    server.wait()
print("the image's steps work: installed, and the gateway answers")
PY
