import assert from "node:assert/strict";
import { test } from "node:test";

import { emptySelection, extended, positionAfterKey, toggled } from "../library/selection.js";

test("choosing twice deselects", () => {
  const one = toggled(emptySelection(), 3, [30]);
  assert.deepEqual([...one.ids], [30]);
  assert.deepEqual([one.current, one.anchor], [3, 3]);
  assert.deepEqual([...toggled(one, 3, [30]).ids], []);
  assert.deepEqual([...toggled(one, 4, []).ids], [30]); // the row is not loaded yet
});

test("Shift chooses from the anchor, and Ctrl keeps what was chosen", () => {
  const one = toggled(emptySelection(), 2, [20]);
  const more = extended(one, 4, [20, 30, 40]);
  assert.deepEqual([...more.ids], [20, 30, 40]);
  assert.deepEqual([more.current, more.anchor], [4, 2]);
  assert.deepEqual([...extended(more, 1, [10, 20]).ids], [10, 20]);
  assert.deepEqual([...extended(toggled(one, 9, [90]), 10, [90, 100], true).ids], [20, 90, 100]);
});

test("keys move through the grid and stop at its ends", () => {
  const grid = { count: 100, columns: 6, rows: 3 };
  const from = (/** @type {number} */ at, /** @type {string} */ key) =>
    positionAfterKey(key, at, grid);
  assert.equal(from(0, "ArrowRight"), 1);
  assert.equal(from(0, "ArrowLeft"), 0);
  assert.equal(from(7, "ArrowUp"), 1);
  assert.equal(from(97, "ArrowDown"), 99);
  assert.equal(from(0, "PageDown"), 18);
  assert.equal(from(50, "Home"), 0);
  assert.equal(from(50, "End"), 99);
  assert.equal(from(50, "x"), undefined);
});
