import assert from "node:assert/strict";
import { test } from "node:test";

import { highlightTree } from "@lezer/highlight";
import { isPrompt, prompt, style } from "../lab/prompt.js";

/**
 * Return the marked texts of a cell or a line, and the kinds of the marks.
 * @param {string} source
 */
function marked(source) {
  /** @type {[string, string][]} */
  const found = [];
  highlightTree(prompt.parser.parse(source), style, (from, to, name) => {
    const text = source.slice(from, to);
    if (name !== "xai-magic") found.push([text, name.replace("xai-", "")]);
  });
  return found;
}

test("options and their values are marked, and the prompt is not", () => {
  assert.deepEqual(marked("%%xai_image -n 4 --as foxes\na red fox -n 3 --fresh in snow"), [
    ["-n", "option"],
    ["4", "value"],
    ["--as", "option"],
    ["foxes", "value"],
  ]);
});

test("a switch takes no value, and other words are a prompt", () => {
  assert.deepEqual(marked("%xai_image --full a fox --local"), [
    ["--full", "option"],
    ["--local", "option"],
  ]);
});

test("an optional value is recognised by its beginning", () => {
  const marks = (/** @type {string} */ line) => marked(line).map(([text]) => text);
  assert.deepEqual(marks("%xai_image --rewrite a fox"), ["--rewrite"]);
  assert.deepEqual(marks("%xai_image --rewrite grok-4 a fox"), ["--rewrite", "grok-4"]);
  assert.deepEqual(marks("%xai_image --matrix {a|b} fox"), ["--matrix"]);
  assert.deepEqual(marks("%xai_image --matrix quality=low,medium fox"), [
    "--matrix",
    "quality=low,medium",
  ]);
  assert.deepEqual(marks("%xai_image --export --full a fox"), ["--export", "--full"]);
});

test("a value follows = or a short flag directly, and a quoted value can contain blanks", () => {
  const line = `%%xai_image -n4 --export=pictures --user "me and you" --user=$'it\\'s me' --as x`;
  assert.deepEqual(
    marked(line).map(([text]) => text),
    ["-n", "4", "--export", "=pictures", "--user", '"me and you"']
      .concat(["--user", `=$'it\\'s me'`])
      .concat(["--as", "x"]),
  );
});

test("misspelt options and words after -- are not marked", () => {
  assert.deepEqual(marked("%%xai_image --frsh a fox"), []);
  assert.deepEqual(marked("%xai_image -n 2 -- a --full fox"), [
    ["-n", "option"],
    ["2", "value"],
    ["--", "option"],
  ]);
});

test("a template ends with its expression", () => {
  for (const template of [
    "{{ light }}",
    "{{ row['a }} b'] }}",
    '{{ {"a": {"b": 1}}["a"] }}',
    "{{ it's }}",
    "{{ names\n | join(', ') }}",
  ])
    assert.deepEqual(
      marked(`%%xai_image\na fox ${template} and {b} "c"`),
      template.split("\n").map((line) => [line, "template"]),
    );
});

test("templates are marked on the magic's line, too", () => {
  assert.deepEqual(marked('%xai_image a "big{{ n }}" fox'), [["{{ n }}", "template"]]);
});

test("a template is the value of the option before it", () => {
  assert.deepEqual(marked("%xai_image -n {{ n }} fox --export={{ folder }} --full"), [
    ["-n", "option"],
    ["{{ n }}", "template"],
    ["--export", "option"],
    ["=", "value"],
    ["{{ folder }}", "template"],
    ["--full", "option"],
  ]);
});

test("the first line that is not blank makes a cell a prompt", () => {
  const cell = (/** @type {string} */ source) => isPrompt(source.split("\n"));
  assert(cell("%%xai_image\na fox"));
  assert(cell("\n  \n  %%xai_image -n 2\r\na fox"));
  for (const code of ["", "# a\n%%xai_image", "%%xai_images", "%xai_image a fox", "%%time", "x"])
    assert(!cell(code), code);
});

test("ten thousand lines are tokenized", () => {
  const body = "a cat's dream in {{ light }}\n".repeat(10_000);
  assert.equal(marked(`%%xai_image\n${body}`).length, 10_000);
});
