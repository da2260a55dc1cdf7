#!/usr/bin/env bash
# What a user without Rust gets: the command as one static binary for Linux on this architecture, and a wheel with it, which is
# installed into a fresh virtual environment to prove it. Both land in target/dist/.
#
# Needs python3 with venv (apt-get install python3-venv) and glibc's static libraries (part of libc6-dev).
source "$(dirname "$0")/common.sh"
job dist 30m "$@"

target="$(rustc -vV | sed -n 's/^host: //p')"
version="$(sed -nE 's/^version = "(.*)"/\1/p' Cargo.toml | head -n 1)"
dist="$CARGO_TARGET_DIR/dist"
rm -rf "$dist"
mkdir -p "$dist"

RUSTFLAGS="${RUSTFLAGS:-} -C target-feature=+crt-static" cargo build --release --quiet --target "$target" -p ropewalk-cli --bin ropewalk
cp "$CARGO_TARGET_DIR/$target/release/ropewalk" "$dist/ropewalk"
strip "$dist/ropewalk"
if ldd "$dist/ropewalk" 2>/dev/null | grep -q '=>'; then
    echo "the binary is not static:" >&2
    ldd "$dist/ropewalk" >&2
    exit 1
fi

wheel="$(python3 ci/wheel.py "$dist/ropewalk" "$version" "$dist")"
python3 -m venv "$dist/venv"
"$dist/venv/bin/pip" install --quiet --no-index --disable-pip-version-check "$wheel"
"$dist/venv/bin/ropewalk" --version | grep -F "$version"
said="$("$dist/venv/bin/ropewalk" profile --json -- "$dist/venv/bin/python" -c 'import time; time.sleep(0.5)')"
python3 -c 'import json, sys; assert json.loads(sys.argv[1])["verdict"]["class"] == "sleeping", sys.argv[1]' "$said"
rm -rf "$dist/venv"

figure binary_mib "$(awk -v b="$(stat -c %s "$dist/ropewalk")" 'BEGIN { printf "%.1f", b / 1048576 }')"
ls -l "$dist"
