"""Pickles and copies of batches, images, jobs and errors, also in other processes."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import os
import pickle
import pickletools
import shelve
import subprocess
import sys
import zlib
from base64 import b85decode
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import cloudpickle
import joblib
import pandas as pd
import pytest

import xai_notebook as xai
from harness import KEY, start_kernel, without_xai
from xai_notebook import errors
from xai_notebook.client import AsyncClient
from xai_notebook.errors import (
    ApiError,
    BudgetError,
    LibraryError,
    MissingImageError,
    NotKeptError,
    XaiError,
)
from xai_notebook.pictures.results import open_batch

if TYPE_CHECKING:
    from pathlib import Path

    from harness import Served
    from xai_notebook.generation.session import Session

FORMAT_1 = (
    "c-q}mU2hvj6m^X4B$m@cpwJcp145{Q*j}$4$4OsWlBz^TE0jj!0U<NHd+ixAyR)5{tz#qvLZT?rJRoIw<Ap!KBk%kNp7"
    "|rZaCe=iLh3JIrQMy+d(Yf+&U|0{<-10ueC%6iluuG=Ae8d7lkv#p3UmkGTo~<aQ)ZA(LTV!BF5GzKTX)AcctU5O9jjb"
    "Um;I~hRRxc8(8iT(GbNMEIJ-`Xf|yL@nX~mo#vq*CoGE$QE_U-2+RG?*CB-<lMRf*|nJ8+wboQm*eh<MQEGcpvNnK!9A"
    "LmqXv%qG9r&*40w`?ufpm3yBMw?8fN+@P;gjB<D;Oup&IA)__atSQ38w%!%8<;Fn1-7mkRp5f$u4Pj5GTpdh8`@BlV@;"
    "~^)UlS`5Hg~oohf+2Veah9%QyxL^6b!m-G6rIZNgI$Vs2(g!sD1Oh|W_o#f607D50Tz0^4NH4I`1_IwO=T5`vI(LP;cK"
    "9t+T#=+i}qe9mJann|-<Zy5IS@M|m>k<)2Ag48Gs<_}1c;F1{HG@S_`0#bdqT#k^)6hLT%0Gf5kr*r`&RzVHnLgd<%wN"
    "IBRrpOSPDazB1v#sYR4U6)xMN*qdu4DJGa{1V10x_o(v&fLs^^%Qlmd>25Y5ol$#p9Ky&aOrZsDap7;(PwE-Rrgc-ibH"
    "Z_xt<)UT3t|_jY?9dEUO~IlHDH69_YQ=e7<?$%5zxlI8CVoxK-E{lShO4u^5y?+>GJ5K?ah{Q*SO3xS5CxIY~X`o0glW"
    "mp>0!CpW1dvw>^-5E_0+LQ}Kd#lT20$m!@uHd1fYSG1VbxQPA9vAYg7nUjX*39xy@Mw~&LOGkydlNXzIF`1680IOGS16"
    "08F`SiRikQ@pVuUqZC{<B|z}8}FC>}J-xiCCMt<}Rtk?6u5JUIU>c(~EL-Nfo{9DQ<ljQ^G5U8~~v=lP?*@z**!ynk}`"
    "Yc%@p&w8c$N9CXOyW6dTkD~{{;qM=R^@ID-9lPAV^B>#KAcZB_ohVld)#L27gJtUximough1)uIKjCK9C~eNxiciztxb"
    "ijmqA-vu==>7>!8X{n@d~@X^e%fPV4DGZb&I_gup8`k_C~;N2JBXlv)khed(*C8ZGM5b*xUb8D=`wVcdtyt-V50K0sG*"
    "^X4vcP?fTxO8Q7h3wq-{rn7{NEnNwYcXCPt{F34p$3r@)aL(EWuUEWNX_``s02dp!$vhEi10@e$dAFw`hG1y`|0UIJS_"
    "X@tzrL~kMg?v{dynPdt<+zHTr&$rb5O{5x3xTG@`6Mf@PV{F4Lg=C)c*2bv-^4t2Rp&{9e!{!;DTeO+3rdJhr~"
)
"""A pickled batch of a shown and a withheld picture, written by the first version of the format."""
HEAVY = ("grpc", "google.protobuf", "sqlite3", "PIL", "xai_notebook.generation.session")
OPENED = f"""
import pickle, sys
from pathlib import Path
batch = pickle.loads(Path(sys.argv[1]).read_bytes())
assert not {{*{HEAVY!r}}} & {{*sys.modules}}
assert not Path(sys.argv[2]).exists()
"""


def run(code: str, *arguments: object, home: str | Path | None = None, **variables: str) -> str:
    """Run code in a new process and return its output."""
    if home is not None:
        variables["XAI_NOTEBOOK_HOME"] = str(home)
    return output_of(["-W", "error", "-c", code, *map(str, arguments)], None, **variables)


def output_of(command: list[str], folder: Path | None = None, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        capture_output=True, text=True, timeout=120, check=False, cwd=folder,
        env=without_xai() | {"XAI_NOTEBOOK_BACKEND": "local"} | variables,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def attributes_of(batch: xai.ImageBatch) -> list[Any]:
    names = (
        "request", "position", "index", "status", "model", "prompt", "caption", "cell", "cost_usd",
        "media_type", "size", "created", "replayed", "error", "sha256", "id", "notes", "chosen",
        "label", "public_url", "public_url_expires", "bundle", "path",
    )  # fmt: skip
    return [[getattr(image, name) for name in names] for image in batch]


# What is in a pickle


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_batch_is_restored(
    session: Session, server: Served, protocol: int, tmp_path: Path
) -> None:
    batch = session.generate(
        "a {red|blue} fox [moderated]", n=2, matrix=True, columns=1, captions="short", share=1
    ) + session.generate("an owl")
    batch[-1].export(tmp_path)
    opened = pickle.loads(pickle.dumps(batch, protocol))
    assert attributes_of(opened) == attributes_of(batch)
    assert [image.data for image in opened.ok] == [image.data for image in batch.ok]
    assert len(opened.ok) == 1
    assert opened[-1].exported == batch[-1].exported
    assert opened.bundle() == batch.bundle()
    alone = pickle.loads(pickle.dumps(batch[-1:], protocol))
    assert attributes_of(alone) == attributes_of(batch[-1:])
    (image,) = pickle.loads(pickle.dumps([batch[-1]], protocol))
    assert image.data == batch[-1].data


def test_a_pickle_has_each_original_once(session: Session, server: Served) -> None:
    batch = session.generate("a red fox")
    alone = len(pickle.dumps(batch))
    several = pickle.dumps([batch, batch[:], batch + batch, session.history.search(), batch[0]])
    assert len(several) < alone + 4_000 < alone + len(batch[0].data)
    opened = pickle.loads(several)
    assert len({id(image.data) for each in opened[:4] for image in each}) == 1


def test_a_pickle_refers_only_to_the_functions_that_open_it(
    session: Session, quick: Served
) -> None:
    job = session.generate("an owl", batch=True)
    pickled = pickle.dumps([session.generate("a red fox"), job], 3)
    named = {arg for code, arg, _ in pickletools.genops(pickled) if code.name == "GLOBAL"}
    assert named == {
        "xai_notebook.pictures.results open_batch",
        "xai_notebook.pictures.results open_image",
        "xai_notebook.generation.current CurrentSession",
        "xai_notebook.generation.jobs.job open_job",
        "builtins bytes",
    }


def test_the_first_format_can_be_read() -> None:
    batch = pickle.loads(zlib.decompress(b85decode(FORMAT_1)))
    assert [image.status for image in batch] == ["ok", "moderated"]
    assert sha256(batch[0].data).hexdigest() == batch[0].sha256
    assert batch[0].caption.startswith("Rewritten prompt: A red fox, in bright midday sun")
    assert batch[0].prompt == "a red fox"
    assert (batch.columns, batch[0].request.aspect_ratio) == (2, "1:1")
    assert batch[0].created.year == 2026
    assert batch[1].error == "The image was withheld by moderation. Change the prompt."


def test_functions_named_in_pickles_stay_where_they_are() -> None:
    for module, name in (
        ("xai_notebook.generation.current", "CurrentSession"),
        ("xai_notebook.generation.jobs", "open_job"),
        ("xai_notebook.pictures.results", "open_batch"),
        ("xai_notebook.pictures.results", "open_image"),
    ):
        assert pickle.loads(f"c{module}\n{name}\n.".encode()).__name__ == name


def test_a_later_format_is_refused() -> None:
    with pytest.raises(XaiError, match=r"newer version.*pip install --upgrade xai-notebook"):
        open_batch(2, {})


def test_unknown_fields_are_ignored(session: Session, quick: Served) -> None:
    function, (version, values) = session.generate("a red fox").__reduce__()
    assert function(version, values | {"mood": "sunny"})[0].prompt == "a red fox"


def test_a_pickle_has_the_originals_of_a_bundle(
    session: Session, quick: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    original = session.generate("a red fox")
    bundle = session.history.pack("story.xai").file
    monkeypatch.setenv("XAI_NOTEBOOK_HOME", str(tmp_path / "second"))
    batch = session.generate("a red fox", replay=True)
    pickled = pickle.dumps(batch)
    bundle.unlink()
    opened = pickle.loads(pickled)
    assert (opened[0].data, opened[0].bundle) == (original[0].data, "story.xai")


def test_an_image_without_its_original_is_missing(session: Session, quick: Served) -> None:
    quick.faults.garbage = None
    batch = session.generate(each=["a red fox", "an owl"])
    assert batch[0].file is not None
    batch[0].file.unlink()
    opened = pickle.loads(pickle.dumps(batch))
    assert opened[1].data == batch[1].data
    with pytest.raises(MissingImageError, match="is gone from the library"):
        _ = opened[0].data
    assert "is gone from the library" in opened.bundle()["text/html"]


# Copies


def test_copies_are_the_same_object(session: Session, quick: Served) -> None:
    @dataclasses.dataclass
    class Story:
        pages: xai.ImageBatch
        cover: xai.GeneratedImage

    batch = session.generate("a red fox", n=2)
    assert batch[0].file is not None
    batch[0].file.unlink()
    story = copy.deepcopy(Story(batch, batch[0]))
    assert (story.pages, story.cover) == (batch, batch[0])
    assert copy.copy(batch) is batch
    assert copy.copy(batch[0]) is batch[0]
    parts = dataclasses.asdict(story)
    assert parts["cover"]["picture"]["request"]["prompt"] == "a red fox"
    assert parts["pages"]["images"][1]["index"] == 1


# Other processes and other libraries


def test_opening_loads_no_session_and_no_library(
    session: Session, server: Served, tmp_path: Path
) -> None:
    batch, file, home = session.generate("a red fox"), tmp_path / "batch.pickle", tmp_path / "other"
    file.write_bytes(pickle.dumps(batch))
    code = OPENED + "print(batch[0].prompt, batch[0].sha256, len(batch[0].data), batch)\n"
    code += "assert not Path(sys.argv[2]).exists()"
    printed = run(code, file, home, home=home)
    image = batch[0]
    assert printed.strip() == f"a red fox {image.sha256} {len(image.data)} {batch!r}"


def test_a_batch_works_with_another_library(
    session: Session, server: Served, tmp_path: Path
) -> None:
    batch, file, home = session.generate("a red fox"), tmp_path / "batch.pickle", tmp_path / "other"
    file.write_bytes(pickle.dumps(batch))
    code = (
        OPENED
        + """
import xai_notebook as xai
own = xai.generate("an owl")
assert own[0].id == batch[0].id == 1
night = batch[0].edit("make it night")
print(night[0].status, [image.prompt for image in night[0].lineage])
print(batch.export(sys.argv[3])[0].name, xai.read_metadata(batch[0].exported).prompt)
print([image.prompt for image in batch[0].lineage])
for act in (batch.star, lambda: batch[0].tags, batch.delete, lambda: batch.redo(0)):
    try:
        act()
    except xai.XaiError as error:
        print(error)
print(own[0].starred, len(xai.history()))
"""
    )
    printed = run(code, file, home, tmp_path / "exported", home=home).splitlines()
    marked = (
        "Image 0 is not in the library in use. If another library has the image, "
        "set XAI_NOTEBOOK_HOME to the folder of that library."
    )
    redone = (
        "Image 0 is not in the library, so it cannot be regenerated. Run its cell again to "
        "generate what is missing."
    )
    assert printed[0] == "ok ['make it night']"
    assert printed[1].endswith("jpg a red fox")
    assert printed[2:] == ["['a red fox']", *[marked] * 3, redone, "False 2"]


def test_a_batch_is_annotated_in_its_library(
    session: Session, keyed: Served, tmp_path: Path
) -> None:
    """A withheld image has no digest."""
    batch = session.generate("a red fox") + session.generate("an owl [moderated]")
    file = tmp_path / "batch.pickle"
    file.write_bytes(pickle.dumps(batch))
    home = os.environ["XAI_NOTEBOOK_HOME"]
    code = "import pickle, sys\nfrom pathlib import Path\n"
    code += "batch = pickle.loads(Path(sys.argv[1]).read_bytes())\n"
    code += "batch.star()\nbatch[0].tag('noir')\nprint(batch[0].path == batch[0].file)"
    assert run(code, file, XAI_NOTEBOOK_HOME=home) == "True\n"
    assert [(image.starred, image.tags) for image in batch] == [(True, ("noir",)), (True, ())]


def test_a_row_of_another_library_is_not_annotated(
    session: Session, quick: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    quick.faults.garbage = None
    fox = session.generate("a red fox")
    monkeypatch.setenv("XAI_NOTEBOOK_HOME", str(tmp_path / "second"))
    owl = session.generate("an owl")
    assert fox[0].id == owl[0].id
    with pytest.raises(LibraryError, match="not in the library in use"):
        fox.delete()
    assert [image.prompt for image in session.history.search()] == ["an owl"]
    monkeypatch.undo()


# Jobs


def test_a_job_is_restored(session: Session, quick: Served) -> None:
    job = session.generate(each=["a red fox", "an owl"], batch=True, columns=1)
    opened = pickle.loads(pickle.dumps(job))
    assert (opened.name, opened.id, opened.prompt) == (job.name, job.id, "a red fox")
    assert copy.deepcopy(job) is copy.copy(job) is job
    images = job.wait(60)
    again = pickle.loads(pickle.dumps(opened))
    assert [attributes_of(opened.wait(60)), opened.images.columns] == [attributes_of(images), 1]
    assert again.counts == job.counts
    (listed,) = pickle.loads(pickle.dumps(session.jobs()))
    assert listed.name == job.name


@pytest.mark.parametrize("home", ["same", "other"])
def test_another_process_can_use_a_job_only_with_its_library(
    session: Session, quick: Served, tmp_path: Path, home: str
) -> None:
    job, file = session.generate("a red fox", batch=True, n=2), tmp_path / "job.pickle"
    job.wait(60)
    file.write_bytes(pickle.dumps(job))
    code = (
        OPENED.replace("batch =", "job =").replace("assert not Path", "# assert not Path")
        + """
print(job)
try:
    print(job.wait(1), job.state)
except Exception as error:
    print(type(error).__name__, error)
print("Not in this library" in job._repr_mimebundle_()["text/html"])
"""
    )
    where = os.environ["XAI_NOTEBOOK_HOME"] if home == "same" else str(tmp_path / "other")
    served: Any = {"XAI_API_HOST": quick.address, "XAI_NOTEBOOK_BACKEND": "xai"}
    printed = run(code, file, where, home=where, XAI_API_KEY=KEY, **served).splitlines()
    if home == "same":
        assert printed[0] == repr(job)
        assert printed[-2:] == [f"{job.images!r} done".splitlines()[-1], "False"]
        return
    lost = (
        f"The library in use does not contain the job {job.name} of 2 images. Set "
        "XAI_NOTEBOOK_HOME to the library with which it was submitted."
    )
    assert printed[0].startswith("Job Not in this library: 2 images")
    assert printed[0].endswith(lost)
    assert printed[1:] == [f"JobError {lost}", "True"]


# Libraries that pickle


def test_joblib_and_shelve_store_batches(session: Session, server: Served, tmp_path: Path) -> None:
    batch = session.generate("a red fox")
    joblib.dump(batch, tmp_path / "batch.joblib", compress=1)
    with shelve.open(str(tmp_path / "shelf")) as catalog:
        catalog["batch"] = batch
    with shelve.open(str(tmp_path / "shelf")) as catalog:
        opened = [joblib.load(tmp_path / "batch.joblib"), catalog["batch"]]
    assert [each[0].data for each in opened] == [batch[0].data] * 2


def test_data_frames_of_images_are_kept(session: Session, server: Served, tmp_path: Path) -> None:
    batch = session.generate("a red fox", n=2)
    frame = pd.DataFrame({"image": list(batch), "all": [batch, batch]})
    frame.to_pickle(tmp_path / "frame.pickle")
    opened = pd.read_pickle(tmp_path / "frame.pickle")
    assert [image.data for image in opened["image"]] == [image.data for image in batch]
    assert copy.deepcopy(frame)["image"][1] is batch[1]


def test_closures_keep_their_batch(session: Session, server: Served, tmp_path: Path) -> None:
    batch, file = session.generate("a red fox"), tmp_path / "function.pickle"
    file.write_bytes(cloudpickle.dumps(lambda: len(batch[0].data)))
    code = (
        "import pickle, sys\nfrom pathlib import Path\n"
        "print(pickle.loads(Path(sys.argv[1]).read_bytes())())"
    )
    printed = run(code, file, home=tmp_path / "other")
    assert int(printed) == len(batch[0].data)


POOLS = """
import concurrent.futures, multiprocessing
import joblib
import xai_notebook as xai

def paint(prompt):
    return xai.generate(prompt)

def measure(image):
    return len(image.data)

def fail(message):
    raise xai.XaiError(message)

def work(function, values):
    WORK

if __name__ == "__main__":
    batches = work(paint, ["a red fox", "an owl"])
    print([batch[0].prompt for batch in batches])
    images = [batch[0] for batch in batches]
    print(work(measure, images) == [len(image.data) for image in images])
    batches[0].star()
    print([image.starred for image in images])
    try:
        work(fail, ["so it is"])
    except xai.XaiError as error:
        print(error)
"""
_POOL = "with multiprocessing.get_context('{}').Pool(2) as pool: return pool.map(function, values)"
WORKERS = {
    "joblib": (
        "return joblib.Parallel(n_jobs=2)(joblib.delayed(function)(value) for value in values)"
    ),
    "spawn": _POOL.format("spawn"),
    "forkserver": _POOL.format("forkserver"),
    "executor": (
        "spawn = multiprocessing.get_context('spawn')\n"
        "    with concurrent.futures.ProcessPoolExecutor(2, spawn) as pool:"
        " return [*pool.map(function, values)]"
    ),
}


@pytest.mark.parametrize("work", WORKERS.values(), ids=WORKERS)
def test_worker_processes_exchange_batches_and_errors(work: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"  # a file, which the workers can import
    program.write_text(POOLS.replace("WORK", work))
    printed = output_of([str(program)], tmp_path, XAI_NOTEBOOK_HOME=str(tmp_path / "home"))
    assert printed.splitlines() == ["['a red fox', 'an owl']", "True", "[True, False]", "so it is"]


def test_the_store_magic_passes_a_batch_to_another_kernel(tmp_path: Path) -> None:
    folder, shared = tmp_path / "work", {"IPYTHONDIR": str(tmp_path / "ipython")}
    with start_kernel(folder, XAI_NOTEBOOK_BACKEND="local", **shared) as kernel:
        outcome = kernel.run("%load_ext xai_notebook\n%xai_image --as batch a red fox")
        assert outcome.error is None
        assert kernel.run("%store batch").error is None
    with start_kernel(folder, XAI_NOTEBOOK_HOME=str(tmp_path / "other"), **shared) as kernel:
        opened = kernel.run("%store -r batch\nprint(batch[0].prompt, batch[0].media_type)\nbatch")
    assert opened.stdout == "a red fox image/jpeg\n"
    assert opened.html


# Errors, tables and replies


def test_errors_are_restored() -> None:
    raised: list[XaiError] = [getattr(errors, name)("It broke.") for name in errors.__all__]
    code: Any = {
        "code": "ABORTED",
        "details": "d",
        "attempts": 3,
        "maybe_billed": True,
        "unsent": True,
    }
    of_calls: list[type[ApiError]] = [ApiError, *ApiError.__subclasses__()]
    raised += [each("It broke.", **code) for each in of_calls]
    raised += [BudgetError("It broke.", reason="r"), NotKeptError("It broke.", reason="r")]
    for error in raised:
        for opened in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
            assert type(opened) is type(error)
            assert str(opened) == "It broke."
            assert vars(opened) == vars(error)


def test_an_interrupt_with_a_short_traceback_is_restored() -> None:
    interrupt = KeyboardInterrupt()
    errors.shorten(interrupt, "the call was cancelled.")
    opened: Any = pickle.loads(pickle.dumps(interrupt))
    assert opened.args == ("the call was cancelled.",)
    assert opened._render_traceback_() == ["KeyboardInterrupt: the call was cancelled."]


def test_tables_can_be_pickled(session: Session, server: Served, tmp_path: Path) -> None:
    batch = session.generate("a red fox")
    values = [
        session.generate("an owl", dry_run=True),
        session.history.costs(),
        session.jobs(),
        xai.read_metadata(batch[0].export(tmp_path)),
    ]
    for value in values:
        assert repr(pickle.loads(pickle.dumps(value))) == repr(value)
        assert repr(copy.deepcopy(value)) == repr(value)


def test_replies_of_the_client_are_restored_without_the_key(server: Served) -> None:
    async def ask() -> None:
        async with AsyncClient(KEY, api_host=server.address) as client:
            replies = await client.image.sample_batch(
                "a fox", "grok-imagine-image", 2, image_format="base64"
            )
            pickled = pickle.dumps(replies)
            assert KEY.encode() not in pickled
            assert len(pickled) < 1.5 * sum(len(each.base64) for each in replies)
            opened = pickle.loads(pickled)
            assert [await each.image for each in opened] == [await each.image for each in replies]
            assert copy.deepcopy(replies[1]).cost_usd == replies[1].cost_usd

    asyncio.run(ask())
