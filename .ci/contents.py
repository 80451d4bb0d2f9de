"""Check that a wheel and an sdist contain exactly what git tracks.

Usage: python .ci/contents.py WHEEL SDIST

Exceptions: `BUILT` lists files that the build adds, `SOURCES` files that a wheel leaves out.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from fnmatch import fnmatch
from pathlib import Path

BUILT = ("*.data/data/share/jupyter/*", "*.data/data/etc/jupyter/*")
"""Files that a wheel may contain although git does not track them."""
SOURCES = "xai_notebook/notebook/browser/"
"""The JavaScript sources: in an sdist, but in a wheel only as bundles."""
NEEDED = (
    "xai_notebook/py.typed",
    "xai_notebook/client/messages/*.binpb",
    "xai_notebook/*/static/*.js",
    "*.data/data/share/jupyter/labextensions/xai-notebook/package.json",
    "*.data/data/share/jupyter/labextensions/xai-notebook/static/remoteEntry.*.js",
)
HEAVIEST_WHEEL = 1_500_000
HEAVIEST_SDIST = 8_000_000
HEAVIEST_FILE = 700_000
"""Limits in bytes. A larger file in a wheel is probably a picture or a source map."""


def tracked(*folders: str) -> set[str]:
    """Return the paths of the files below `folders` that git tracks."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *folders], check=True, capture_output=True, text=True
    )
    return set(filter(None, listed.stdout.split("\0")))


def wheel_faults(path: Path) -> list[str]:
    """Return the problems of the wheel at `path`, one line each."""
    with zipfile.ZipFile(path) as wheel:
        sizes = {entry.filename: entry.file_size for entry in wheel.infolist()}
    names = {name for name in sizes if ".dist-info/" not in name}
    ours = {name for name in tracked("xai_notebook") if not name.startswith(SOURCES)}
    faults = [f"{name} is missing" for name in ours - names]
    faults += [
        f"{name} does not belong here"
        for name in names - ours
        if not any(fnmatch(name, pattern) for pattern in BUILT)
    ]
    faults += [f"no {need}" for need in NEEDED if not any(fnmatch(name, need) for name in names)]
    if not any(fnmatch(name, "*.dist-info/licenses/LICENSE") for name in sizes):
        faults.append("no licence")
    faults += [f"{name} has {size:,} bytes" for name, size in sizes.items() if size > HEAVIEST_FILE]
    if path.stat().st_size > HEAVIEST_WHEEL:
        faults.append(f"{path.stat().st_size:,} bytes are over {HEAVIEST_WHEEL:,}")
    return faults


def sdist_faults(path: Path) -> list[str]:
    """Return the problems of the sdist at `path`, one line each."""
    with tarfile.open(path) as archive:
        names = {entry.name.partition("/")[2] for entry in archive if entry.isfile()}
    hidden = {name for name in tracked() if name.startswith(".")}
    ours = tracked() - hidden
    faults = [f"{name} is missing" for name in ours - names]
    built = {name for name in names if any(fnmatch(name, pattern) for pattern in BUILT)}
    added = {"PKG-INFO", ".gitignore"}  # by hatchling
    faults += [f"{name} does not belong here" for name in names - ours - built - added]
    if path.stat().st_size > HEAVIEST_SDIST:
        faults.append(f"{path.stat().st_size:,} bytes are over {HEAVIEST_SDIST:,}")
    return faults


def main(wheel: Path, sdist: Path) -> int:
    """Print sizes and problems; return 1 if there are problems."""
    notebooks = sum(Path(name).stat().st_size for name in tracked("notebooks"))
    print(f"{wheel.name}: {wheel.stat().st_size / 1000:.0f} kB")
    print(
        f"{sdist.name}: {sdist.stat().st_size / 1000:.0f} kB, notebooks {notebooks / 1000:.0f} kB"
    )
    faults = [f"{wheel.name}: {fault}" for fault in sorted(wheel_faults(wheel))]
    faults += [f"{sdist.name}: {fault}" for fault in sorted(sdist_faults(sdist))]
    print(*faults, sep="\n", file=sys.stderr)
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
