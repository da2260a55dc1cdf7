"""Packs a binary as a wheel, so that `pip install` puts the command beside python. Prints the wheel's path.

wheel.py BINARY VERSION DIRECTORY
"""

import base64
import hashlib
import os
import platform
import sys
import zipfile

METADATA = """Metadata-Version: 2.1
Name: ropewalk
Version: {version}
Summary: Find what a program waits for, and see what concurrency is worth on this machine
License: MIT OR Apache-2.0
Requires-Python: >=3.8
"""

WHEEL = """Wheel-Version: 1.0
Generator: ropewalk ci/wheel.py
Root-Is-Purelib: false
Tag: py3-none-{platform}
"""


def main():
    binary, version, directory = sys.argv[1:]
    tag = f"manylinux_2_17_{platform.machine()}"
    path = os.path.join(directory, f"ropewalk-{version}-py3-none-{tag}.whl")
    info = f"ropewalk-{version}.dist-info"
    # A static binary runs on any Linux of its architecture.
    files = [
        (f"ropewalk-{version}.data/scripts/ropewalk", open(binary, "rb").read(), 0o755),
        (f"{info}/METADATA", METADATA.format(version=version).encode(), 0o644),
        (f"{info}/WHEEL", WHEEL.format(platform=tag).encode(), 0o644),
    ]
    record = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, content, mode in files:
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            record.append(f"{name},sha256={digest},{len(content)}")
            add(wheel, name, content, mode)
        record.append(f"{info}/RECORD,,")
        add(wheel, f"{info}/RECORD", ("\n".join(record) + "\n").encode(), 0o644)
    print(path)


def add(wheel, name, content, mode):
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (0o100000 | mode) << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    wheel.writestr(entry, content)


main()
