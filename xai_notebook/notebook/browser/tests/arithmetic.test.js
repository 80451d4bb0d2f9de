import assert from "node:assert/strict";
import { test } from "node:test";

import { FITTED, fit, keepInFrame, MAX_ZOOM, zoomTo } from "../shared/arithmetic.js";

const FRAME = { width: 800, height: 600 };

test("a picture is fitted, at most at its own size", () => {
  assert.deepEqual(fit({ width: 1600, height: 600 }, FRAME), { width: 800, height: 300 });
  assert.deepEqual(fit({ width: 600, height: 1200 }, FRAME), { width: 300, height: 600 });
  assert.deepEqual(fit({ width: 96, height: 96 }, FRAME), { width: 96, height: 96 });
});

test("zooming keeps the pixel under the pointer", () => {
  const drawn = { width: 800, height: 600 };
  const point = { x: 200, y: -100 };
  const look = zoomTo(FITTED, 2, drawn, FRAME, point);
  // The pixel of the picture at a point: (point - middle) / zoom.
  assert.equal((point.x - look.x) / look.zoom, 200);
  assert.equal((point.y - look.y) / look.zoom, -100);
  assert.deepEqual(zoomTo(look, 1, drawn, FRAME, point), FITTED);
});

test("zoom is bounded", () => {
  const drawn = { width: 800, height: 600 };
  assert.equal(zoomTo(FITTED, 100, drawn, FRAME).zoom, MAX_ZOOM);
  assert.equal(zoomTo(FITTED, 0.1, drawn, FRAME).zoom, 1);
});

test("edges of an enlarged picture stay outside the frame", () => {
  const drawn = { width: 800, height: 300 };
  const far = keepInFrame({ zoom: 2, x: 5000, y: -5000 }, drawn, FRAME);
  assert.deepEqual(far, { zoom: 2, x: 400, y: 0 });
  assert.deepEqual(keepInFrame({ zoom: 4, x: -5000, y: 5000 }, drawn, FRAME), {
    zoom: 4,
    x: -1200,
    y: 300,
  });
});
