"""Provenance from end to end: the magic exports, the file says how it was made."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

import xai_notebook as xai
from xai_notebook.errors import MetadataError
from xai_notebook.pictures.xmp import ALGORITHMIC

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from harness import Served

MAGIC = "%xai_image --aspect-ratio 3:4 --model grok-imagine-image-2.0 {} -- a fox's “tail” & 20 %"


def sent(kind: str) -> bytes:
    """Return a picture as a server might send it."""
    buffer = io.BytesIO()
    picture = Image.linear_gradient("L").convert("RGB").resize((64, 48))
    picture.save(buffer, kind)
    return buffer.getvalue()


def pixels(data: bytes) -> bytes:
    """Return the decoded picture."""
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB").tobytes()


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_an_export_says_how_it_was_made(shell: InteractiveShell, keyed: Served, kind: str) -> None:
    """Same pixels; prompt, rewritten prompt and model inside; its cell makes the request again."""
    keyed.faults.garbage = data = sent(kind)
    keyed.faults.model_name = "grok-imagine-image-2.0-0926"
    batch: Any = shell.run_cell(MAGIC.format("--export")).result
    file = batch[0].exported
    assert file.read_bytes() != data
    assert pixels(file.read_bytes()) == pixels(data)
    found = xai.read_metadata(file)
    first = keyed.last
    shell.run_cell(found.cell.replace("%%xai_image", "%%xai_image --fresh"))
    assert len(keyed.calls) == 2
    assert keyed.last == first
    if not shutil.which("exiftool"):
        if os.environ.get("CI"):
            pytest.fail("exiftool is missing")
        pytest.skip("exiftool is not installed (Debian: libimage-exiftool-perl)")
    command = ["exiftool", "-json", "-XMP:all", "-validate", "-warning", "-a", str(file)]
    (read,) = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    told = json.dumps(read, ensure_ascii=False)
    assert "a fox's “tail” & 20 %" in told
    assert batch[0].rewritten_prompt in told
    assert "trainedAlgorithmicMedia" in told
    assert "Warning" not in read


def test_a_local_preview_claims_no_model(shell: InteractiveShell) -> None:
    """It was painted by an algorithm that was trained on nothing, and its file says so."""
    batch: Any = shell.run_cell("%xai_image --local --export a red fox").result
    found = xai.read_metadata(batch[0].exported)
    assert (found.model, found.digital_source_type) == ("local-preview", ALGORITHMIC)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_without_metadata_the_file_is_what_came(
    shell: InteractiveShell, keyed: Served, kind: str
) -> None:
    """`--no-metadata` writes the server's bytes and nothing else."""
    keyed.faults.garbage = data = sent(kind)
    batch: Any = shell.run_cell(MAGIC.format("--export --no-metadata")).result
    assert Path(batch[0].exported).read_bytes() == data
    with pytest.raises(MetadataError):
        xai.read_metadata(batch[0].exported)


def test_replayed_images_are_marked_too(shell: InteractiveShell, keyed: Served) -> None:
    """What comes from the library is exported with the same words."""
    keyed.faults.garbage = sent("JPEG")
    first: Any = shell.run_cell(MAGIC.format("--export one")).result
    again: Any = shell.run_cell(MAGIC.format("--replay --export two")).result
    assert again[0].replayed
    assert first[0].exported.read_bytes() == again[0].exported.read_bytes()
