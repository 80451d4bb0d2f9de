import assert from "node:assert/strict";
import { test } from "node:test";

import { LibraryStore } from "../library/store.js";

/** Return a store whose kernel has `count` rows; `asked` are the messages to the kernel. */
function kernel(count = 1000) {
  /** @type {any[]} */
  const asked = [];
  /** @type {(content: any, buffers?: any[]) => void} */
  let tell = () => {};
  const model = {
    on: (/** @type {string} */ event, /** @type {typeof tell} */ listener) => {
      if (event === "msg:custom") tell = listener;
    },
    send: (/** @type {any} */ content) => asked.push(content),
    get: () => true,
    set: () => {},
    save_changes: () => {},
  };
  const store = new LibraryStore(model);
  /** Answer the last message. */
  const answer = async (content = {}, buffers = /** @type {any[]} */ ([])) => {
    const { request, kind, start = 0, stop = 100 } = asked.at(-1);
    const rows = Array.from({ length: stop - start }, (_, index) => ({ id: start + index }));
    const replies = { query: { count, rows, ids: [] }, rows: { rows } };
    tell({ request, kind, ...replies[/** @type {"query"} */ (kind)], ...content }, buffers);
    await new Promise(setImmediate);
  };
  return { store, asked, answer, tell: (/** @type {any} */ content) => tell(content) };
}

test("replies to earlier queries are dropped", async () => {
  const { store, answer, asked } = kernel();
  const first = store.query("a", "newest", {});
  const second = store.query("ab", "newest", {});
  await answer();
  assert.equal((await second)?.count, 1000);
  asked.pop();
  await answer({ count: 5 });
  assert.equal(await first, null);
  assert.equal(store.count, 1000);
});

test("rows are fetched in pages, each page once", async () => {
  const { store, answer, asked } = kernel();
  const found = store.query("", "newest", {});
  await answer();
  await found;
  assert.equal(store.row(250), undefined);
  assert.equal(store.row(251), undefined);
  assert.deepEqual(
    asked.slice(1).map(({ start, stop }) => [start, stop]),
    [[200, 300]],
  );
  await answer();
  assert.equal(store.row(251)?.id, 251);
});

test("the first result brings rows and thumbnails", async () => {
  const { store, answer, asked } = kernel();
  const found = store.query("", "newest", {});
  assert.deepEqual([asked[0].rows, asked[0].thumbnails], [100, 36]);
  await answer({ ids: [3] }, [new DataView(new ArrayBuffer(8))]);
  await found;
  assert.equal(store.row(99)?.id, 99);
  assert.match(store.thumbnails.get(3) ?? "", /^blob:/);
  assert.equal(asked.length, 1);
  store.query("a", "newest", {});
  assert.equal(asked[1].thumbnails, 0); // most thumbnails are loaded
});

test("all views get the result of a query", async () => {
  const { store, answer } = kernel();
  /** @type {boolean[]} */
  const heard = [];
  store.addEventListener("result", (event) => {
    heard.push(/** @type {CustomEvent} */ (event).detail.keep);
  });
  store.query("", "newest", {});
  const second = store.query("", "newest", {}, true);
  await answer();
  await second;
  assert.deepEqual(heard, [true]);
});

test("the first rows may come before the result", async () => {
  const { store, answer, tell } = kernel();
  const found = store.query("", "newest", {});
  tell({ kind: "glance", rows: [{ id: 7 }, { id: 6 }], ids: [] });
  assert.deepEqual([store.count, store.row(1)?.id], [2, 6]);
  await answer();
  await found;
  assert.equal(store.count, 1000);
  tell({ kind: "glance", rows: [], ids: [] }); // of another view of the same widget
  assert.equal(store.count, 1000);
});

test("pages are bounded", async () => {
  const { store, answer } = kernel(100_000);
  const found = store.query("", "newest", {});
  await answer();
  await found;
  for (let position = 0; position < 100_000; position += 100) {
    store.row(position);
    await answer();
  }
  assert.equal(store.pages.size, 30);
});

test("a change that is made elsewhere updates the row", async () => {
  const { store, answer, tell } = kernel();
  const found = store.query("", "newest", {});
  await answer();
  await found;
  store.row(7);
  await answer();
  tell({ kind: "changed", ids: [7], rows: [{ id: 7, starred: true }] });
  assert.equal(store.row(7)?.starred, true);
});

test("an error rejects with a sentence", async () => {
  const { store, answer } = kernel();
  const found = store.query("", "newest", {});
  const refused = assert.rejects(found, /The library is locked/);
  await answer({ kind: "error", said: "The library is locked." });
  await refused;
});
