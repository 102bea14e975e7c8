#!/usr/bin/env bash
# Makes the virtual environment of this checkout. A second call notices that nothing changed.
set -eu -o pipefail
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-python3}
VENV=${VENV:-.venv}
stamp=$VENV/.installed

# Scripts in a virtual environment name its place: one that was moved is made anew.
place="$PWD $VENV"
wanted=$(cat pyproject.toml constraints.txt | cksum)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$place $wanted" ]; then
  exit 0
fi

if ! "$PYTHON" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
  echo "error: no Python 3.11, 3.12 or 3.13 found" >&2
  echo "hint: install one, or name it: make install PYTHON=/path/to/python3.11" >&2
  exit 1
fi
if [ -d "$VENV" ] && [ ! -f "$stamp" ]; then
  echo "error: $VENV was not made by \`make install\`" >&2
  echo "hint: remove it, or choose another place: make install VENV=.venv-mir" >&2
  exit 1
fi
if [ -d "$VENV" ] && ! grep -qF "$place " "$stamp"; then
  echo "Removing $VENV, which was made in another place" >&2
  rm -rf "$VENV"
fi
if [ ! -x "$VENV/bin/pip" ]; then
  echo "Making $VENV with $("$PYTHON" --version)" >&2
  mkdir -p "$VENV"
  echo "$place unfinished" > "$stamp"
  if ! "$PYTHON" -m venv "$VENV"; then
    rm -rf "$VENV"
    echo "hint: on Debian and Ubuntu: apt install python3-venv" >&2
    exit 1
  fi
fi

echo "Installing about 200 packages at the versions of constraints.txt (a few minutes at first)" >&2
echo "$place unfinished" > "$stamp"
"$VENV/bin/pip" install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,dev]'
# Where writing bytecode is switched off, every start of Airflow would compile it all again.
"$VENV/bin/python" -m compileall -q -j 0 "$VENV"/lib/python*/site-packages mir_ops plugins \
  >/dev/null 2>&1 || true
echo "$place $wanted" > "$stamp"
echo "Installed: $("$VENV/bin/python" --version), $(du -sh "$VENV" | cut -f1) in $VENV" >&2
