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


def wheel_issues(path: Path) -> list[str]:
    """Return the issues of the wheel at `path`, one line each."""
    with zipfile.ZipFile(path) as wheel:
        sizes = {entry.filename: entry.file_size for entry in wheel.infolist()}
    names = {name for name in sizes if ".dist-info/" not in name}
    ours = {name for name in tracked("xai_notebook") if not name.startswith(SOURCES)}
    issues = [f"{name} is missing" for name in ours - names]
    issues += [
        f"{name} does not belong here"
        for name in names - ours
        if not any(fnmatch(name, pattern) for pattern in BUILT)
    ]
    issues += [f"no {need}" for need in NEEDED if not any(fnmatch(name, need) for name in names)]
    if not any(fnmatch(name, "*.dist-info/licenses/LICENSE") for name in sizes):
        issues.append("no licence")
    issues += [f"{name} has {size:,} bytes" for name, size in sizes.items() if size > HEAVIEST_FILE]
    if path.stat().st_size > HEAVIEST_WHEEL:
        issues.append(f"{path.stat().st_size:,} bytes are over {HEAVIEST_WHEEL:,}")
    return issues


def sdist_issues(path: Path) -> list[str]:
    """Return the issues of the sdist at `path`, one line each."""
    with tarfile.open(path) as archive:
        names = {entry.name.partition("/")[2] for entry in archive if entry.isfile()}
    hidden = {name for name in tracked() if name.startswith(".")}
    ours = tracked() - hidden
    issues = [f"{name} is missing" for name in ours - names]
    built = {name for name in names if any(fnmatch(name, pattern) for pattern in BUILT)}
    added = {"PKG-INFO", ".gitignore"}  # by hatchling
    issues += [f"{name} does not belong here" for name in names - ours - built - added]
    if path.stat().st_size > HEAVIEST_SDIST:
        issues.append(f"{path.stat().st_size:,} bytes are over {HEAVIEST_SDIST:,}")
    return issues


def main(wheel: Path, sdist: Path) -> int:
    """Print sizes and issues; return 1 if there are issues."""
    notebooks = sum(Path(name).stat().st_size for name in tracked("notebooks"))
    print(f"{wheel.name}: {wheel.stat().st_size / 1000:.0f} kB")
    print(
        f"{sdist.name}: {sdist.stat().st_size / 1000:.0f} kB, notebooks {notebooks / 1000:.0f} kB"
    )
    issues = [f"{wheel.name}: {issue}" for issue in sorted(wheel_issues(wheel))]
    issues += [f"{sdist.name}: {issue}" for issue in sorted(sdist_issues(sdist))]
    print(*issues, sep="\n", file=sys.stderr)
    return int(bool(issues))


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
