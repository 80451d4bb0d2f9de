import assert from "node:assert/strict";
import { test } from "node:test";

import { grouped } from "../panel/groups.js";
import { ended } from "../panel/queue.js";
import { nextIndex } from "../panel/recall.js";

/** @param {string} id @param {string} asked @param {number} group */
const card = (id, asked, group) =>
  /** @type {import("../messages.js").Card} */ ({ id, asked, group });

test("groups and their cards are newest first", () => {
  const cards = [card("a1", "a", 1), card("a2", "a", 1), card("b1", "b", 2), card("a3", "a", 3)];
  const shown = grouped(cards).map((group) => group.cards.map(({ id }) => id));
  assert.deepEqual(shown, [["a3", "a1", "a2"], ["b1"]]);
});

test("a group keeps its id while it grows", () => {
  const one = [card("a1", "a", 1)];
  assert.equal(grouped([...one, card("a2", "a", 2)])[0]?.id, grouped(one)[0]?.id);
});

test("recall goes through the prompts, then back to the draft", () => {
  const texts = ["first", "second"];
  assert.equal(nextIndex(texts, undefined, true, "draft"), 1);
  assert.equal(nextIndex(texts, 1, true, "second"), 0);
  assert.equal(nextIndex(texts, 0, true, "first"), undefined);
  assert.equal(nextIndex(texts, 0, false, "first"), 1);
  assert.equal(nextIndex(texts, 1, false, "second"), 2);
  assert.equal(nextIndex(texts, 2, false, "draft"), undefined);
  // The text in the field is skipped; a changed text becomes the draft.
  assert.equal(nextIndex(texts, undefined, true, "second"), 0);
  assert.equal(nextIndex(texts, 0, true, "first, changed"), 1);
});

test("active generations end with their kernel", () => {
  const states = ["queued", "running", "failed", "cancelled"];
  const left = states.map((state) =>
    ended(/** @type {import("../messages.js").Job} */ ({ id: "1", prompt: "a", state, line: "" })),
  );
  assert.deepEqual(
    left.map(({ state }) => state),
    ["gone", "gone", "failed", "cancelled"],
  );
  assert.equal(left[0]?.line, "Stopped: the kernel ended.");
});
