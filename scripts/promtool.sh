#!/usr/bin/env bash
# promtool for the test of the alert rules, from Debian's package `prometheus`, into .cache/promtool: no root, no server.
set -euo pipefail
cd "$(dirname "$0")/.."
target=.cache/promtool
if command -v promtool >/dev/null 2>&1 || [ -x "$target/promtool" ]; then exit 0; fi
if ! command -v apt-get >/dev/null 2>&1 || ! command -v dpkg-deb >/dev/null 2>&1; then
  echo "the test of the alert rules needs promtool. Next step: install Prometheus 2.42 or later, so that promtool is on the PATH" >&2
  exit 3
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
options=(-oAPT::Sandbox::User= -oAcquire::Retries=2)
if ! (cd "$work" && apt-get "${options[@]}" -qq download prometheus 2>/dev/null); then
  # No package lists on this machine: lists of our own, for this once.
  mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
  options+=("-oDir::State::Lists=$work/lists" "-oDir::Cache=$work/cache")
  if ! apt-get "${options[@]}" -qq update || ! (cd "$work" && apt-get "${options[@]}" -qq download prometheus); then
    echo "the test of the alert rules needs promtool. Next step: apt-get install prometheus, or a network" >&2
    exit 3
  fi
fi
dpkg-deb --fsys-tarfile "$work"/prometheus_*.deb | tar -x -C "$work" ./usr/bin/promtool
mkdir -p "$target"
mv "$work/usr/bin/promtool" "$target/promtool"
