"""Compile protos/ into what the package ships: one descriptor set and its type stubs.

    python protos/regenerate.py [OUTPUT]

The package loads messages from the descriptor set at run time (see
`xai_notebook/client/wire.py`), so no generated Python code is shipped and any
protobuf runtime that can read a descriptor will do. OUTPUT is the root below
which `xai_notebook/client/messages/` is written; default: this repository.
"""

from __future__ import annotations

import sys
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "protos" / "xai" / "api" / "v1"
# The files register under this virtual folder, not under xai/api/v1: a file
# name can exist only once per process, and xAI's own SDK owns those.
FOLDER = "xai_notebook/client/messages"


def regenerate(output: Path) -> list[Path]:
    """Write the descriptor set and the stubs below `output`; return the files written."""
    target = output / FOLDER
    target.mkdir(parents=True, exist_ok=True)
    names = sorted(f"{FOLDER}/{path.name}" for path in SOURCES.glob("*.proto"))
    status = protoc.main(
        [
            "protoc",
            f"-I{FOLDER}={SOURCES}",
            f"-I{resources.files('grpc_tools') / '_proto'}",
            f"--descriptor_set_out={target / 'descriptors.binpb'}",
            f"--pyi_out={output}",
            *names,
        ]
    )
    if status:
        raise SystemExit(status)
    return sorted([target / "descriptors.binpb", *target.glob("*_pb2.pyi")])


if __name__ == "__main__":
    for written in regenerate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT):
        print(written)
