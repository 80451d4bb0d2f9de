import assert from "node:assert/strict";
import { test } from "node:test";

import { counted, dollars, sizeOf } from "../shared/words.js";

test("dollars look as in the kernel", () => {
  const written = [0.02, 0.0025, 0.07, 0.1, 1, 1.88, 0.30000000000000004].map(dollars);
  assert.deepEqual(written, ["$0.02", "$0.0025", "$0.07", "$0.10", "$1.00", "$1.88", "$0.30"]);
});

test("bytes have a fitting unit", () => {
  const written = [0, 999, 1000, 9_940, 10_600, 1_300_000, 2.5e12].map(sizeOf);
  assert.deepEqual(written, [
    "0 bytes",
    "999 bytes",
    "1.0 kB",
    "9.9 kB",
    "11 kB",
    "1.3 MB",
    "2.5 TB",
  ]);
});

test("thousands are separated", () => assert.equal(counted(100_000), "100,000"));
