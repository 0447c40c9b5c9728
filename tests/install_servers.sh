#!/usr/bin/env bash
# Install the programs that tests run and that pip does not provide, if possible.
set -euo pipefail

PATH="$PATH:/usr/sbin"
wanted=()
for program in nginx strace zsh fish; do
  command -v "$program" >/dev/null || wanted+=("$program")
done
[ "${#wanted[@]}" != 0 ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "not installed: ${wanted[*]}; their tests will be skipped" >&2
  exit 0
fi
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get -qq update && apt-get -qq install --no-install-recommends "${wanted[@]}"; } >/dev/null; then
  echo "could not be installed: ${wanted[*]}; their tests will be skipped" >&2
fi
