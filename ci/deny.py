#!/usr/bin/env python3
"""The part of deny.toml that needs no network and no tool: licences and sources of all dependencies, from cargo's metadata.

cargo-deny does this and more, and lint.sh prefers it where it is installed; this keeps the promise on a machine that has
only Rust and Python. Exit status 1 and one line per finding.
"""

import json
import re
import subprocess
import sys

try:
    import tomllib
except ImportError:  # before Python 3.11
    print("deny.py: needs Python 3.11 (or cargo-deny); licences and sources were NOT checked")
    sys.exit(0)

with open("deny.toml", "rb") as file:
    rules = tomllib.load(file)
allowed = set(rules["licenses"]["allow"])
exceptions = {e["crate"]: set(e["allow"]) for e in rules["licenses"].get("exceptions", [])}
banned = {e["crate"]: e.get("reason", "") for e in rules["bans"].get("deny", [])}


def satisfied(expression: str, allow: set) -> bool:
    """An SPDX expression as a Python one: names become True or False, `/` is the old way of writing OR."""
    words = re.findall(r"\(|\)|/|[\w.+-]+", expression)
    out, skip = [], False
    for word in words:
        if skip:  # the exception after WITH: part of the licence before it
            skip = False
        elif word in "()":
            out.append(word)
        elif word in ("OR", "/"):
            out.append("or")
        elif word == "AND":
            out.append("and")
        elif word == "WITH":
            skip = True
        else:
            out.append(str(word in allow))
    return bool(eval(" ".join(out)))  # only `True False and or ( )`


assert satisfied("MIT OR Apache-2.0", {"MIT"}) and satisfied("(MIT OR X) AND Y", {"MIT", "Y"}) and satisfied("A/B", {"B"})
assert not satisfied("GPL-3.0", {"MIT"}) and not satisfied("MIT AND X", {"MIT"}), "the check must be able to fail"

findings = 0
for manifest in ("Cargo.toml", "bench/Cargo.toml", "interop/Cargo.toml"):
    command = ["cargo", "metadata", "--format-version", "1", "--manifest-path", manifest]
    metadata = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout)
    for package in metadata["packages"]:
        name, source, licence = package["name"], package["source"], package["license"]
        why = []
        if source and source != "registry+https://github.com/rust-lang/crates.io-index":
            why.append(f"comes from {source}")
        if not licence or not satisfied(licence, allowed | exceptions.get(name, set())):
            why.append(f"has the licence {licence}, which deny.toml does not allow")
        # A ban is about what users get; peers in bench/ may bring what they like.
        if manifest == "Cargo.toml" and name in banned:
            why.append(f"is banned: {banned[name]}")
        for reason in why:
            findings += 1
            print(f"deny: {name} {package['version']} ({manifest}) {reason}")
    print(f"deny: {len(metadata['packages'])} packages of {manifest} looked at")
sys.exit(1 if findings else 0)
