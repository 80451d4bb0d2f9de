"""Apps, services and dask send each distinct request once; the how-to about them is right; tables.

Tests of packages that are not installed are skipped; `.ci/services` installs all of them.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import xai_notebook as xai
from harness import needs_package, tiny, until
from xai_notebook.arguments.tables import read_rows
from xai_notebook.client.request import ImageRequest
from xai_notebook.generation.session import close_session, current_session
from xai_notebook.library.storage.lock import is_alive
from xai_notebook.pictures.picture import Picture
from xai_notebook.pictures.results import GeneratedImage, ImageBatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from numbering_server import NumberingServer
    from xai_notebook.generation.session import Session

PAGES = Path(__file__).parents[1] / "docs/howto"
RERUNS = """
import asyncio
import streamlit as st
import xai_notebook as xai
n = st.slider("how many", 1, 3, 1)
fox = xai.generate("a fox", n=n, fresh=st.button("new"))
table = xai.generate(each=["a cat", "a dog"])
owl = asyncio.run(xai.agenerate("an owl", export="out"))
owl.export("again")
bees = [image for image in xai.stream(each=["a bee", "an ant"])]
job = xai.generate("a moon", n=n, batch=True, local=True)
shown = [*fox, *owl[0].edit("at night"), *table, *owl, *sorted(bees, key=lambda bee: bee.prompt)]
st.text(" ".join(image.sha256 for image in [*shown, *job.wait()]))
st.html(fox)
st.write(fox, unsafe_allow_html=True)
st.write(fox)
"""
STREAMLIT = """
import json, threading
from streamlit.testing.v1 import AppTest

APP = '''
import streamlit as st
import xai_notebook as xai
count = st.number_input("how many", 1, 4, 1)
for prompt in ("a fox", "an owl"):
    st.text(",".join(image.sha256 for image in xai.generate(prompt, n=int(count))))
'''

def visit():
    page = AppTest.from_string(APP, default_timeout=60).run()
    seen = [[text.value for text in page.text]]
    seen.append([text.value for text in page.run().text])
    page.number_input[0].set_value(2).run()
    seen.append([text.value for text in page.text])
    assert not page.exception, page.exception
    found.append(seen)

found = []
visitors = [threading.Thread(target=visit) for _ in range(3)]
for visitor in visitors: visitor.start()
for visitor in visitors: visitor.join()
print(json.dumps(found))
"""
FASTAPI = """
import asyncio, json
import httpx, fastapi
import xai_notebook as xai

app = fastapi.FastAPI()

@app.get("/async")
async def paint(prompt: str) -> list[str]:
    return [image.sha256 for image in await xai.agenerate(prompt, reuse=True)]

@app.get("/sync")
def paint_in_thread(prompt: str) -> list[str]:
    return [image.sha256 for image in xai.generate(prompt, reuse=True)]

async def main():
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://x", timeout=60) as http:
        calls = [(way, prompt) for way in ("async", "sync") for prompt in ("a fox", "an owl")] * 6
        replies = await asyncio.gather(
            *(http.get(f"/{way}", params={"prompt": prompt}) for way, prompt in calls)
        )
    print(json.dumps([[prompt, *reply.json()] for (_, prompt), reply in zip(calls, replies)]))

asyncio.run(main())
"""
DASK = """
import json, pickle
import dask
from dask.base import tokenize
import xai_notebook as xai

@dask.delayed
def paint(prompt):
    return xai.generate(prompt, reuse=True)

@dask.delayed
def measure(batch):
    return len(batch[0].data)

def main():
    found = []
    for scheduler in ("threads", "processes"):
        with dask.config.set(scheduler=scheduler):
            batches = dask.compute(*(paint(prompt) for prompt in ("a fox", "an owl")))
            sizes = dask.compute(*map(measure, batches))
            assert [*sizes] == [len(batch[0].data) for batch in batches]
            found += [[batch[0].prompt, batch[0].sha256] for batch in batches]
    opened = pickle.loads(pickle.dumps(batches))
    assert tokenize(opened) == tokenize(batches) and tokenize(opened[0]) != tokenize(opened[1])
    opened[0].export("pictures")
    assert tokenize(opened[0]) == tokenize(batches[0])
    print(json.dumps(found))

if __name__ == "__main__":
    main()
"""
MANY = """
import json, os, signal, sys
from distributed import Client, LocalCluster, WorkerPlugin
import xai_notebook as xai
import paint

PROMPTS = [f"a fox {number}" for number in range(1000)]

class Shared(WorkerPlugin):
    def setup(self, worker):
        xai.configure(budget="25/total", rate=0)

def task(prompt):
    first = not (paint.SHARED / "died").exists()
    digest = paint.paint(prompt) if own else xai.generate(prompt, reuse=True)[0].sha256
    if prompt == "a fox 250" and first:
        (paint.SHARED / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)  # stored, and not yet returned to the scheduler
    return digest

own = sys.argv[1:] == ["own"]

def over():
    xai.configure(budget="20.01/total")
    try:
        xai.generate("one more fox")
    except xai.XaiError as error:
        return type(error).__name__

def main():
    paint.SHARED.mkdir()
    options = dict(n_workers=4, threads_per_worker=1, dashboard_address=None)
    with LocalCluster(**options) as cluster, Client(cluster) as client:
        client.register_plugin(paint.Setup() if own else Shared())
        print(json.dumps([*client.run(os.getpid).values()]), flush=True)
        print(json.dumps(client.gather(client.map(task, PROMPTS, batch_size=100))), flush=True)
        print(json.dumps(None if own else client.submit(over).result()), flush=True)

if __name__ == "__main__":
    main()
"""
MARIMO_RERUNS = """
import marimo
app = marimo.App()

@app.cell
def _():
    import marimo as mo
    import xai_notebook as xai
    rerun, set_rerun = mo.state(0, allow_self_loops=True)
    return mo, rerun, set_rerun, xai

@app.cell
async def _(rerun, set_rerun, xai):
    fox = xai.generate("a fox", n=1 + rerun() % 3)
    owl = await xai.agenerate("an owl")
    bees = list(xai.stream(each=["a bee", "an ant"]))
    night = fox[0].edit("at night")
    print("seen", rerun(), fox[0].sha256, owl[0].sha256, len(bees))
    if rerun() < 20:
        set_rerun(rerun() + 1)
    [fox, {"night": night[0], "plan": xai.generate("a fox", dry_run=True)}, xai.costs()]
    return

if __name__ == "__main__":
    app.run()
"""
MARIMO_PROGRESS = """
import marimo
app = marimo.App()

@app.cell
def _():
    from pathlib import Path
    from marimo._runtime.context import get_context
    import xai_notebook as xai

    def shown():
        output = get_context().execution_context.output.stack()
        return output.text if output is not None else ""

    def look(report):
        if "marimo-progress" in shown():
            Path(f"seen-{report.expected}").write_text(shown())

    xai.configure(patience=0)
    xai.generate("a fox", n=2, progress=look)
    xai.generate(each=["an owl", "a bee"], progress=look)
    print("left:", "marimo-progress" in shown())
    return
"""
MARIMO = """
import marimo
app = marimo.App()

@app.cell
def _():
    import xai_notebook as xai
    return (xai,)

@app.cell
def _(xai):
    fox = xai.generate("a fox"{})
    print("seen", fox[0].sha256)
    return (fox,)

@app.cell
def _(fox, xai):
    owl = xai.generate("an owl"{}) if fox else None
    print("seen", owl[0].sha256)
    return

if __name__ == "__main__":
    app.run()
"""


def run(*command: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder, capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_package("streamlit")
def test_reruns_of_a_streamlit_app_order_nothing_twice(
    image_server: NumberingServer, tmp_path: Path
) -> None:
    """Three visitors rerun the app twice each, with default settings."""
    visits = json.loads(run("-c", STREAMLIT, folder=tmp_path).splitlines()[-1])
    assert len(visits) == 3
    first, again, grown = visits[0]
    assert first == again
    assert [text.count(",") for text in grown] == [1, 1]
    assert visits == [visits[0]] * 3
    assert sorted(image_server.image_counts) == [1] * 4


@needs_package("fastapi")
def test_concurrent_requests_of_a_fastapi_service_order_nothing_twice(
    image_server: NumberingServer, tmp_path: Path
) -> None:
    pytest.importorskip("httpx")
    replies = json.loads(run("-c", FASTAPI, folder=tmp_path))
    assert len(replies) == 24
    assert len({tuple(reply) for reply in replies}) == 2
    assert image_server.image_counts == [1, 1]


@needs_package("dask")
def test_tasks_of_dask_exchange_batches(image_server: NumberingServer, tmp_path: Path) -> None:
    """Batches are made in one task and used in another, in threads and in processes."""
    (tmp_path / "tasks.py").write_text(DASK)
    found = json.loads(run("tasks.py", folder=tmp_path))
    assert [prompt for prompt, _ in found] == ["a fox", "an owl"] * 2
    assert found[:2] == found[2:]
    assert image_server.image_counts == [1, 1]


def write_page(folder: Path, page: str = "machines.md", *names: str) -> None:
    """Write the files that a page of `docs/howto` shows."""
    block = re.compile(r"^```python\n# (\w+\.py)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
    blocks = block.findall((PAGES / page).read_text(encoding="utf-8"))
    assert [name for name, _ in blocks] == list(names or ("paint.py", "run.py"))
    for name, code in blocks:
        (folder / name).write_text(code)


@needs_package("distributed")
def test_the_files_of_the_page_about_machines_run(
    image_server: NumberingServer, tmp_path: Path
) -> None:
    write_page(tmp_path)
    image_server.priced = True
    assert "new pictures from" in run("run.py", folder=tmp_path)
    assert len(set(image_server.prompts)) == len(image_server.prompts) == 40
    assert len(xai.history(n=100)) == 40
    close_session()


@needs_package("distributed")
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("libraries", ["one", "own"])
def test_workers_of_dask_are_killed_and_each_prompt_is_ordered_once(
    image_server: NumberingServer, tmp_path: Path, libraries: str
) -> None:
    """Four processes, 1,000 prompts, with one library and with a library for each process.

    One process is killed after it has stored a picture, which the scheduler does not know yet.
    Another one is killed while the server works on its request, and has not answered.
    """
    write_page(tmp_path)
    (tmp_path / "many.py").write_text(MANY)
    image_server.replies_left, image_server.priced = 500, True
    process = subprocess.Popen(
        [sys.executable, "many.py", libraries], cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        first_workers = json.loads(process.stdout.readline())
        until(lambda: image_server.waiting_calls == 4)
        victim = next(pid for pid in first_workers if is_alive(pid))
        os.kill(victim, signal.SIGKILL)
        until(lambda: image_server.waiting_calls == 3)
        image_server.replies_left = None
        output, errors = process.communicate(timeout=100)
    finally:
        process.send_signal(signal.SIGINT)  # if it still runs, it ends with its workers
        process.communicate()
    assert process.returncode == 0, errors
    digests, refused = map(json.loads, output.splitlines())
    assert refused == ("BudgetError" if libraries == "one" else None)
    prompts = [f"a fox {number}" for number in range(1000)]
    assert sorted(image_server.prompts) == sorted(prompts)
    assert len(set(digests)) == 1000
    homes = sorted((tmp_path / "shared").glob("homes/*"))
    assert len(homes) > 4 if libraries == "own" else not homes
    taken = [len(xai.merge(home)) for home in homes]
    assert sum(taken) == (1000 if homes else 0)
    assert [len(xai.merge(home)) for home in homes] == [0] * len(homes)
    with sqlite3.connect(tmp_path / "home" / "library.sqlite3") as connection:
        query = "SELECT count(*), count(DISTINCT fingerprint), total(cost_usd) FROM requests"
        assert connection.execute(query).fetchone() == (1000, 1000, pytest.approx(20))
        assert connection.execute("SELECT count(*) FROM images").fetchone() == (1000,)
    batch = xai.generate(each=prompts, reuse=True)
    assert [image.sha256 for image in batch] == digests
    assert len(image_server.prompts) == 1000
    xai.configure(budget="25/total")
    state = current_session().budget()
    assert state is not None
    assert round(state.used_usd, 6) == 20
    xai.configure(budget=None)
    close_session()


@needs_package("marimo")
def test_marimo_shows_progress_while_a_call_waits(
    image_server: NumberingServer, tmp_path: Path
) -> None:
    """A spinner with the cost for one prompt, a bar for several; they are removed at the end."""
    (tmp_path / "app.py").write_text(MARIMO_PROGRESS)
    image_server.replies_left, image_server.priced = 0, True
    command = [sys.executable, "-m", "marimo", "export", "html", "app.py", "-o", "app.html"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        try:
            for requests, text in ((1, "0.04; from your library: 0"), (2, "0 of 2 prompts")):
                seen = tmp_path / f"seen-{requests}"
                until(lambda: seen.exists() and text in seen.read_text())  # noqa: B023
                image_server.replies_left = requests
        finally:
            image_server.replies_left = None
        process.communicate(timeout=100)
    assert process.returncode == 0
    assert "left: False" in (tmp_path / "app.html").read_text(encoding="utf-8")
    assert sorted(image_server.prompts) == ["a bee", "a fox", "an owl"]


@needs_package("marimo")
def test_marimo_reuses_pictures(image_server: NumberingServer, tmp_path: Path) -> None:
    """By default in marimo; with `reuse=True` when the notebook runs as a script."""
    file = tmp_path / "app.py"
    pages = []
    for number in range(2):
        file.write_text(MARIMO.format("", ""))
        page = tmp_path / f"{number}.html"
        run("-m", "marimo", "export", "html", str(file), "-o", str(page), folder=tmp_path)
        pages.append(page.read_text())
    assert image_server.image_counts == [1, 1]
    file.write_text(MARIMO.format(", reuse=True", ", reuse=True"))
    digests = [line.split()[1] for line in run(str(file), folder=tmp_path).splitlines()]
    assert len({*digests}) == 2
    assert all(digest in page for digest in digests for page in pages)
    assert image_server.image_counts == [1, 1]


APPS = ("service.py", "bot.py", "album.py", "page.py", "notebook.py", "dashboard.py")
SERVICE = """
import asyncio, json, threading
import httpx, uvicorn
import xai_notebook as xai
from xai_notebook.testing import XaiServer
import service

arrived, cancelled = threading.Event(), threading.Event()

async def hold(request):
    arrived.set()
    try:
        await asyncio.sleep(3600)
    finally:
        cancelled.set()

async def main(server):
    web = uvicorn.Server(uvicorn.Config(service.app, port=0, log_level="warning"))
    serving = asyncio.create_task(web.serve())
    while not web.started:
        await asyncio.sleep(0.01)
    port = web.servers[0].sockets[0].getsockname()[1]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
        async def get(prompt):
            reply = await http.get("/picture", params={"prompt": prompt})
            kind = reply.headers["content-type"]
            return [reply.status_code, kind if "image" in kind else reply.json()["detail"]]

        replies = [await get("a fox"), await get("a fox"), await get(" ")]
        server.reply(None)
        replies.append(await get("a bear"))
        server.fail("INVALID_ARGUMENT")
        replies.append(await get("a boar"))
        server.fail("PERMISSION_DENIED")
        replies.append(await get("a wolf"))
        server.faults.delay = hold
        gone = asyncio.create_task(get("a lynx"))
        await asyncio.to_thread(arrived.wait, 60)
        gone.cancel()  # closes the connection
        replies.append(await asyncio.to_thread(cancelled.wait, 60))
        server.faults.delay = 0.0
        xai.configure(budget="0.03/total")
        replies.append(await get("a crow"))
    web.should_exit = True
    await serving
    print(json.dumps([replies, server.images]))

with XaiServer(price_usd=0.02) as server:
    asyncio.run(main(server))
"""
BOT = """
import asyncio, json
import xai_notebook as xai
from xai_notebook.testing import XaiServer
import album, bot

async def main(server):
    sent, messages = [], asyncio.Queue()

    async def send(*parts):
        sent.append([*parts[:-1], parts[-1] and len(parts[-1])])

    running = asyncio.create_task(bot.run(messages, send, workers=1))
    server.reply("fox.jpg", None)
    for text in ("a fox", "a bear", "a fox"):
        messages.put_nowait(("chat 1", text))
    await messages.join()
    server.fail("PERMISSION_DENIED")
    messages.put_nowait(("chat 2", "a wolf"))
    await messages.join()
    xai.configure(budget="0.01/total")
    messages.put_nowait(("chat 2", "an owl"))
    await messages.join()
    running.cancel()
    await asyncio.wait({running})
    users = [request.user for request in server.requests]
    xai.configure(budget=None)
    await album.send_album(["a bee", "an ant"], send)
    print(json.dumps([sent, users]))

with XaiServer(price_usd=0.02) as server:
    asyncio.run(main(server))
"""


def test_a_file_of_the_page_about_apps_is_tested_here(tmp_path: Path) -> None:
    write_page(tmp_path, "apps.md", *APPS)
    assert (PAGES / "apps.md").read_text(encoding="utf-8").count("```") == 2 * len(APPS)


@needs_package("fastapi")
@needs_package("uvicorn")
def test_the_service_of_the_page_about_apps(tmp_path: Path) -> None:
    """Each outcome has a status of its own, and a client that goes away cancels its call."""
    write_page(tmp_path, "apps.md", *APPS)
    (tmp_path / "try.py").write_text(SERVICE)
    replies, made = json.loads(run("try.py", folder=tmp_path))
    empty = "The prompt is empty. Write what the image should show."
    moderated = "The image was withheld by moderation. Change the prompt."
    assert replies[:4] == [[200, "image/jpeg"], [200, "image/jpeg"], [422, empty], [451, moderated]]
    assert [reply[0] for reply in replies[4:6]] == [422, 502]
    assert replies[6:] == [True, [402, "BudgetError"]]
    assert made == 1


def test_the_bot_of_the_page_about_apps(tmp_path: Path) -> None:
    write_page(tmp_path, "apps.md", *APPS)
    (tmp_path / "try.py").write_text(BOT)
    (tmp_path / "fox.jpg").write_bytes(tiny())
    sent, users = json.loads(run("try.py", folder=tmp_path))
    assert users == ["chat 1"] * 3 + ["chat 2"]
    assert sent[0] == ["chat 1", "Prompt: a fox", len(tiny())]
    assert sent[1] == ["chat 1", "The image was withheld by moderation. Change the prompt.", None]
    assert sent[2][:2] == ["chat 1", "Prompt: a fox"]
    assert sent[2][2] > len(tiny())  # another picture
    assert [parts[1] for parts in sent[3:5]] == [
        "That did not work. Please try again.",
        "That is all for today.",
    ]
    assert sorted(parts[0] for parts in sent[5:]) == ["Prompt: a bee", "Prompt: an ant"]


@needs_package("streamlit")
def test_the_streamlit_page_of_the_page_about_apps(
    image_server: NumberingServer, tmp_path: Path
) -> None:
    image_server.priced = True
    write_page(tmp_path, "apps.md", *APPS)
    code = (
        "from streamlit.testing.v1 import AppTest\n"
        "page = AppTest.from_file('page.py', default_timeout=60).run()\n"
        "page.button[0].click().run()\n"
        "for count in (1, 4, 2): page.slider[0].set_value(count).run()\n"
        "assert not page.exception, page.exception\n"
        "assert not page.error, page.error\n"
        "print(page.get('html')[0].proto.body.count('<img'))\n"
    )
    assert run("-c", code, folder=tmp_path).splitlines()[-1] == "2"
    assert image_server.image_counts == [2, 2]  # four are stored after the click


@needs_package("marimo")
def test_the_marimo_notebook_of_the_page_about_apps(
    image_server: NumberingServer, tmp_path: Path
) -> None:
    write_page(tmp_path, "apps.md", *APPS)
    run("-m", "marimo", "export", "html", "notebook.py", "-o", "x.html", folder=tmp_path)
    assert "Prompt:" in (tmp_path / "x.html").read_text(encoding="utf-8")
    assert image_server.prompts == ["a red fox in fresh snow", "make it a moonlit night"]


@needs_package("panel")
def test_the_panel_app_of_the_page_about_apps(
    image_server: NumberingServer, tmp_path: Path
) -> None:
    image_server.priced = True
    write_page(tmp_path, "apps.md", *APPS)
    code = (
        "import dashboard, panel as pn, xai_notebook as xai\n"
        "batch = dashboard.paint('a fox')\n"
        "dashboard.paint('a fox')\n"
        "shown = (batch, batch[0], xai.costs(), xai.generate('x', dry_run=True))\n"
        "assert [type(pn.panel(each)).__name__ for each in shown] == ['HTML'] * 4\n"
        "print(pn.panel(batch).object._repr_html_().count('<img'))\n"
    )
    assert run("-c", code, folder=tmp_path).split()[-1] == "2"
    assert image_server.image_counts == [2, 2]  # the page's own prompt, and this one


@needs_package("streamlit")
def test_twenty_reruns_in_streamlit_order_each_request_once(
    image_server: NumberingServer, tmp_path: Path
) -> None:
    """Also after the server was restarted. A slider moves back; files are written once.

    After a button has made a new picture, reruns show it.
    """
    (tmp_path / "app.py").write_text(RERUNS)
    code = (
        "from streamlit.testing.v1 import AppTest\n"
        "page = AppTest.from_file('app.py', default_timeout=60).run()\n"
        "first = page.text[0].value\n"
        "for number in range(18): page.slider[0].set_value(1 + number % 3).run()\n"
        "assert page.slider[0].set_value(1).run().text[0].value == first\n"
        "assert not page.exception, page.exception\n"
        "assert [each.proto.body.count('<img') for each in page.get('html')] == [1, 1]\n"
        "assert 'Prompt: a fox' in page.markdown[0].value\n"
        "replaced = page.button[0].click().run().text[0].value\n"
        "assert page.run().text[0].value == replaced\n"
        "print(first, replaced, sep='|')\n"
    )
    shown = [run("-c", code, folder=tmp_path).splitlines()[-1].split("|") for _ in range(2)]
    assert shown[0][1] == shown[1][0]
    assert len({shown[0][0], *shown[1]}) == 3
    prompts = ["a fox"] * 5 + ["a cat", "a dog", "an owl", "a bee", "an ant", "at night"]
    assert sorted(image_server.prompts) == sorted(prompts)
    assert sum(image_server.image_counts) == 11  # the button was pressed twice
    assert [len([*(tmp_path / name).iterdir()]) for name in ("out", "again")] == [1, 1]
    assert len(xai.jobs()) == 3  # one for each number of pictures
    close_session()


@needs_package("marimo")
def test_twenty_reruns_in_marimo_order_each_request_once(
    image_server: NumberingServer, tmp_path: Path
) -> None:
    """In a kernel of marimo; lists and dicts show the pictures in them."""
    (tmp_path / "app.py").write_text(MARIMO_RERUNS)
    run("-m", "marimo", "export", "html", "app.py", "-o", "app.html", folder=tmp_path)
    page = (tmp_path / "app.html").read_text(encoding="utf-8")
    assert "seen 20 " in page
    assert "Dry run, nothing was sent." in page
    assert "data:image/jpeg;base64" in page
    prompts = ["a fox"] * 3 + ["an owl", "a bee", "an ant", "at night"]
    assert sorted(image_server.prompts) == sorted(prompts)
    assert sum(image_server.image_counts) == 7


@needs_package("datasets")
@pytest.mark.parametrize("kind", ["dataset", "column", "stream", "split", "formatted"])
def test_a_data_set_is_a_table(kind: str) -> None:
    """The column `prompt`, in any case, is read; a stream is read lazily."""
    import datasets

    rows = {"id": [1, 2, 3], "Prompt": ["a fox", None, "an owl"]}
    found = datasets.Dataset.from_dict(rows)
    sources: dict[str, Any] = {
        "dataset": found,
        "column": found["Prompt"],
        "stream": found.to_iterable_dataset(),
        "split": datasets.DatasetDict(train=found),
        "formatted": found.with_format("numpy"),
    }
    name = "rows[train][PROMPT]" if kind == "split" else "rows"
    prompts = read_rows(name, {"rows": sources[kind]})
    assert prompts.lazy == (kind == "stream")
    assert [row.prompt for row in prompts] == ["a fox", None, "an owl"]


NASTY = (
    'two "owls"; one, fox', "=SUM(A1:A9)", "a\nb\r\nc\rd", "🦊 ثعلب 雪", "\\n ' \t ", "{{ x }}",
    "test", "train-1", "007", "a\0b", "x" * 9000,
)  # fmt: skip


@needs_package("datasets")
@pytest.mark.filterwarnings(
    "ignore:unclosed file:ResourceWarning"
)  # datasets leaves CSV files open
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "metadata.parquet"])
def test_an_exported_folder_is_a_data_set(tmp_path: Path, name: str) -> None:
    """Bytes, prompts, rows and keys of 200 pictures are equal, two per row."""
    import datasets
    from PIL import Image

    images = []
    for number in range(200):
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8), (number, 50, 90)).save(buffer, "PNG" if number % 3 else "JPEG")
        data = buffer.getvalue()
        row, index = divmod(number, 2)
        picture = Picture(
            request=ImageRequest(prompt=f"{NASTY[row % len(NASTY)]} {row}", model="m", n=2),
            cached=data, sha256=hashlib.sha256(data).hexdigest(), cost_usd=0.07,
            rewritten_prompt=f"{NASTY[-row % len(NASTY)]}!" if row % 2 else None,
        )  # fmt: skip
        images.append(GeneratedImage(picture, index=index, row=row, key=f"Schlüssel {row}"))
    half = ImageBatch(images[:100])
    half.export(tmp_path / "ds", name="{key}/{n}", manifest=name, metadata=False)
    ImageBatch(images[100:]).export(
        tmp_path / "ds", name="{key}/{n}", manifest=name, metadata=False, overwrite=True
    )
    found = datasets.load_dataset(
        "imagefolder", data_dir=str(tmp_path / "ds"), split="train", cache_dir=str(tmp_path / "c")
    ).cast_column("image", datasets.Image(decode=False))
    assert len(found) == 200
    for stored, image in zip(found, images, strict=True):
        with open(stored["image"]["path"], "rb") as stream:  # noqa: PTH123
            assert stream.read() == image.data
        for column in ("row", "key", "prompt", "rewritten_prompt", "sha256", "cost_usd"):
            assert stored[column] == getattr(image, column)


@needs_package("datasets")
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_table_becomes_a_data_set(
    new_session: Callable[[], Session], image_server: NumberingServer, tmp_path: Path
) -> None:
    """Rows, keys and pictures are equal after blanks, failures and a replay."""
    import datasets
    import grpc
    import pandas as pd

    count = 600
    table = pd.DataFrame({"sku": [f"SKU-{i}" for i in range(count)], "size": range(count)})
    table["fruit"] = [f"pear {i}" if i % 9 else None for i in range(count)]
    table["n"] = [2 if i % 100 == 1 else 1 for i in range(count)]
    table = table.sample(frac=1, random_state=5)
    template = {"each": table, "template": True, "key": "sku", "n": "{{ row.n }}"}
    image_server.failures = [grpc.StatusCode.INVALID_ARGUMENT] * 30
    session = new_session()
    session.configured = lambda: {"rate": 0, "concurrency": 16}
    first = session.generate("a {{ row.fruit }} of {{ row.size }} g", **template)
    frame = first.to_frame()
    assert list(dict.fromkeys(frame.row)) == list(table.index)
    assert sorted(frame.status.unique()) == ["failed", "ok", "skipped"]
    assert frame.spent_usd.sum() == pytest.approx(0.02 * sum(image_server.image_counts))
    again = new_session()
    again.configured = session.configured
    batch = again.generate("a {{ row.fruit }} of {{ row.size }} g", **template)
    frame = batch.to_frame()
    made = sum(table.n[table.fruit.notna()])
    assert sum(image_server.image_counts) == made
    assert frame.cost_usd.sum() == pytest.approx(0.02 * made)
    assert frame.replayed.sum() == len(first.ok)
    batch.export(tmp_path / "ds", name="{key}", manifest="metadata.csv", metadata=False)
    found = datasets.load_dataset(
        "imagefolder", data_dir=str(tmp_path / "ds"), split="train", cache_dir=str(tmp_path / "c")
    ).cast_column("image", datasets.Image(decode=False))
    assert len(found) == len(batch.ok) == made
    expected = {image.sha256: image for image in batch.ok}
    joined = table.set_index("sku").join(found.to_pandas().set_index("key"))
    for key, row in joined.iterrows():
        if row.fruit is None or row.fruit != row.fruit:  # NaN
            assert row.sha256 != row.sha256  # no picture
            continue
        image = expected[row.sha256]
        assert (image.key, image.prompt) == (key, f"a {row.fruit} of {row['size']} g")
        assert row.prompt == image.prompt
        assert Path(row.image["path"]).read_bytes() == image.data


@needs_package("datasets")
def test_the_page_about_data_sets_is_right(image_server: NumberingServer, tmp_path: Path) -> None:
    page = Path(__file__).parents[1] / "docs/howto/export_data_set.md"
    cells = re.findall(r"^```i?python3?\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE)
    code = "".join(cells[:2]) + "print(len(fruit), fruit[5]['key'], fruit[5]['prompt'], sep='|')"
    assert run("-c", code, folder=tmp_path).splitlines()[-1] == "6|P-3|a bowl of cherries"
    assert (tmp_path / "fruit/P-2/2.jpg").is_file()


@needs_package("sqlalchemy")
def test_rows_of_sqlalchemy_are_records() -> None:
    """The column `prompt` is read, or the only column."""
    from sqlalchemy import create_engine, text

    with create_engine("sqlite://").connect() as base:
        values = "(SELECT 1 AS id, 'a fox' AS Prompt UNION SELECT 2, NULL UNION SELECT 3, 'an owl')"
        for columns in ("*", "Prompt AS x"):
            query = text(f"SELECT {columns} FROM {values} ORDER BY id")
            assert [row.prompt for row in read_rows(base.execute(query), {}) if row.prompt] == [
                "a fox",
                "an owl",
            ]
            assert [
                row.prompt for row in read_rows(base.execute(query).all(), {}) if row.prompt
            ] == ["a fox", "an owl"]
