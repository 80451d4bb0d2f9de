import assert from "node:assert/strict";
import { test } from "node:test";

import { GAP, layOut, offsetOf, scrollTo, tilesInPage } from "../library/layout.js";

test("tiles fill any width", () => {
  for (let width = 120; width < 2000; width += 7) {
    const { columns, side, step } = layOut(width, 1000);
    const right = offsetOf(layOut(width, 1000), columns - 1).left + side;
    assert.ok(right <= width - GAP, `${width}: ${right}`);
    assert.ok(width - right < columns + 2 * GAP, `${width}: ${right}`);
    assert.equal(step, side + GAP);
  }
});

test("even a narrow frame has two columns", () => {
  assert.equal(layOut(200, 10).columns, 2);
  assert.equal(layOut(1200, 10).columns, 6);
});

test("the page has all visible tiles and few others", () => {
  const count = 100_000;
  const layout = layOut(1000, count);
  for (const top of [0, 12_345, layout.height - 600]) {
    const { first, last } = tilesInPage(layout, top, 600, count);
    assert.ok(last - first < 70);
    assert.ok(first === 0 || offsetOf(layout, first - 1).top + layout.side <= top);
    assert.ok(last === count || offsetOf(layout, last).top >= top + 600);
  }
});

test("scrolling goes as little as possible", () => {
  const layout = layOut(1000, 1000);
  const inSight = scrollTo(layout, 0, 0, 600);
  assert.equal(inSight, 0);
  const below = scrollTo(layout, 500, 0, 600);
  const { top } = offsetOf(layout, 500);
  assert.ok(top >= below && top + layout.side <= below + 600);
  assert.equal(scrollTo(layout, 500, below, 600), below);
  assert.equal(scrollTo(layout, 0, below, 600), 0);
});
