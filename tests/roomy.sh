#!/usr/bin/env bash
# Prints the folder in which the tests write: in memory if there are 4 GB free, else the usual one.
memory=/dev/shm
free=$(df -Pk "$memory" 2>/dev/null | awk 'NR == 2 { print $4 }')
available=$(awk '$1 == "MemAvailable:" { print $2 }' /proc/meminfo 2>/dev/null)
if [ -w "$memory" ] && [ "${free:-0}" -gt 4000000 ] && [ "${available:-0}" -gt 4000000 ]; then
  echo "$memory"
else
  echo "${TMPDIR:-/tmp}"
fi
