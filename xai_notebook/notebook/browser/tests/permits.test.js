import assert from "node:assert/strict";
import { after, mock, test } from "node:test";

import { Permits } from "../lab/permits.js";

const [maker, tab, other] = [new Permits(), new Permits(), new Permits()];
after(() => {
  for (const { channel } of [maker, tab, other]) channel.close();
});

test("another tab gets the permit once", async () => {
  const id = maker.give("Untitled.ipynb");
  const asked = [tab, other].map((permits) => permits.take("Untitled.ipynb", 500));
  assert.deepEqual((await Promise.all(asked)).filter(Boolean), [id]);
  assert.equal(await maker.take("Untitled.ipynb", 10), undefined);
});

test("a permit is for one notebook and lasts a minute", async () => {
  mock.timers.enable({ apis: ["Date"] });
  const id = maker.give("a.ipynb");
  assert.equal(await maker.take("b.ipynb", 10), undefined);
  mock.timers.tick(59_000);
  assert.equal(await maker.take("a.ipynb", 10), id);
  maker.give("a.ipynb");
  mock.timers.tick(61_000);
  assert.equal(await maker.take("a.ipynb", 10), undefined);
  mock.timers.reset();
});
