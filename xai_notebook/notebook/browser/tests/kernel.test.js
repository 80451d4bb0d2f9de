import assert from "node:assert/strict";
import { test } from "node:test";

import { GONE, Kernel } from "../shared/kernel.js";

/**
 * Return a connection; the test plays its kernel with `tell`, `sent` and `end`.
 * @param {Record<string, unknown>} state
 */
function pair(state = { cells: true }) {
  /** @type {Map<string, (...args: any[]) => void>} */
  const listeners = new Map();
  const sent = /** @type {any[]} */ ([]);
  let gone = false;
  const kernel = new Kernel({
    on: (event, listener) => listeners.set(event, listener),
    get: (name) => state[name],
    set: (name, value) => {
      state[name] = value;
    },
    save_changes: () => sent.push({ ...state }),
    send: (content) => {
      if (gone) throw new Error("Cannot send");
      sent.push(content);
    },
  });
  const tell = (/** @type {any} */ content, /** @type {any[]} */ buffers = []) =>
    listeners.get("msg:custom")?.(content, buffers);
  return { kernel, sent, tell, end: () => (gone = true), listeners };
}

test("a reply resolves its request, other messages are events", async () => {
  const { kernel, sent, tell } = pair();
  const news = /** @type {any[]} */ ([]);
  kernel.addEventListener("changed", (event) =>
    news.push(/** @type {CustomEvent} */ (event).detail),
  );
  const [first, second] = [
    kernel.ask({ kind: "picture", id: 1 }),
    kernel.ask({ kind: "picture", id: 2 }),
  ];
  tell({ kind: "picture", request: sent[1].request, prompt: "an owl" });
  tell({ kind: "changed", ids: [1] });
  tell({ kind: "picture", request: sent[0].request, prompt: "a fox" });
  assert.equal((await first).prompt, "a fox");
  assert.equal((await second).prompt, "an owl");
  assert.deepEqual(news[0].ids, [1]);
});

test("a lost kernel rejects open requests", async () => {
  const { kernel, end } = pair();
  let events = 0;
  kernel.addEventListener("gone", () => {
    events += 1;
  });
  const asked = assert.rejects(kernel.ask({ kind: "picture" }), { message: GONE });
  end();
  assert.equal(kernel.send({ kind: "hello" }), false);
  await asked;
  await assert.rejects(kernel.ask({ kind: "picture" }), { message: GONE });
  assert.equal(events, 2);
});

test("a thumbnail is requested once, and unseen ones are dropped above the limit", async () => {
  const { kernel, sent, tell } = pair();
  const both = [kernel.need([1, 2]), kernel.need([2, 3])];
  assert.deepEqual(
    sent.map(({ ids }) => ids),
    [[1, 2], [3]],
  );
  for (const { ids, request } of [...sent]) {
    const bytes = ids.map(() => new DataView(new ArrayBuffer(1)));
    tell({ kind: "thumbnails", request, ids, missing: [] }, bytes);
  }
  await Promise.all(both);
  await kernel.need([1, 2, 3]);
  assert.equal(sent.length, 2);
  const many = Array.from({ length: 700 }, (_, index) => index + 10);
  for (const id of many) kernel.thumbnails.set(id, "");
  kernel.trim(new Set([1]));
  assert.equal(kernel.thumbnails.size, 600);
  assert.ok(kernel.thumbnails.has(1) && !kernel.thumbnails.has(2));
});

test("outside IPython, the page confirms changes that other cells can see", () => {
  const { sent, listeners } = pair({ cells: false, revision: 3 });
  listeners.get("change:revision")?.();
  assert.deepEqual(sent, [{ cells: false, revision: 3, seen: 3 }]);
  assert.equal(pair().listeners.has("change:revision"), false);
});
