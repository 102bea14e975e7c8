#!/bin/sh
# Refuses placeholders that were left in .env, by name. With a file as argument it reads that file,
# without one its own environment. Values are never printed.
set -eu

if [ $# -gt 0 ]; then
  settings=$(grep -E '^[A-Z0-9_]+=' "$1" || true)
else
  settings=$(env)
fi

value() { printf '%s\n' "$settings" | sed -n "s/^$1=//p" | tail -n 1 | tr -d "\"'"; }

wrong=0
refuse() { echo "error: $1" >&2; wrong=1; }

for name in $(printf '%s\n' "$settings" | sed -n 's/^\([A-Z0-9_]*\)=.*/\1/p' | sort -u); do
  case "$name" in LABEL_TOOL_*) [ -n "$(value LABEL_TOOL)" ] || continue ;; esac
  case "$(value "$name")" in
    *set_your_* | *replace_with_*) refuse "\`$name\` in .env is still the placeholder" ;;
  esac
done
case "$(value SERVER_RUNTIME)" in
  nvidia | runc | '') ;;
  *) refuse "\`SERVER_RUNTIME\` in .env is neither nvidia nor runc" ;;
esac
for name in KEEP_BACKUPS KEEP_DAYS; do
  case "$(value "$name")" in
    *[!0-9]* | 0*) refuse "\`$name\` in .env is no number of 1 or more" ;;
  esac
done
case "$(value LABEL_TOOL)" in
  '' | label_studio) ;;
  *) refuse "\`LABEL_TOOL\` in .env is neither empty nor label_studio" ;;
esac
case "$(value YMIR_PATH)" in
  /* | *set_your_*) ;;
  *) refuse "\`YMIR_PATH\` in .env is not an absolute path" ;;
esac

if [ $wrong -ne 0 ]; then
  echo >&2
  echo "hint: edit .env; the comments of .env.example say what belongs there" >&2
  exit 1
fi
