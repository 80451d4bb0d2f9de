// The language of a prompt: text in which only options and `{{ … }}` have a meaning.

import { HighlightStyle, StreamLanguage } from "@codemirror/language";
import { Tag } from "@lezer/highlight";
import flags from "./flags.json" with { type: "json" };

/** @type {Record<string, string | null>} */
const FLAGS = flags; // pattern of the start of a value; null: a switch
const CELL = /^\s*%%xai_image(?!\S)/;
const MAGIC = /^%%?xai_\w+(?!\S)/;
// Words and quotations as `arguments/line.py` reads them, templates as `pictures/magic_source.py` does.
const QUOTED = String.raw`\$'(?:\\.|[^'\\])*'|"[^"]*"|'[^']*'`;
const WORD = new RegExp(String.raw`^(?:${QUOTED}|(?!\{\{)\S)+`);
const FLAG = /^(?:--[A-Za-z][\w-]*(?==|\s|$)|-[A-Za-z](?!-))/;
const LOOKS_LIKE_FLAG = /^--?[A-Za-z]/;
const STRING = /^(?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")/;

/**
 * The state of the tokenizer.
 * @typedef {object} State
 * @property {"start" | "line" | "text"} region Before the magic; after the magic on its line; in the prompt.
 * @property {string | null} value Pattern of the value that the last option takes.
 * @property {number | null} depth Brackets open in an expression; null: outside.
 */

/** @typedef {import("@codemirror/language").StringStream} Stream */

/**
 * Return whether a cell is a prompt: its first line that is not blank has the magic.
 * @param {Iterable<string>} lines
 */
export function isPrompt(lines) {
  for (const line of lines) if (line.trim()) return CELL.test(line);
  return false;
}

/**
 * Read to the end of an expression or of the line; braces of strings and dicts do not end an expression.
 * @param {Stream} stream
 * @param {State} state
 */
function expression(stream, state) {
  while (!stream.eol()) {
    if (!state.depth && stream.match("}}")) {
      state.depth = null;
      break;
    }
    if (stream.match(STRING)) continue;
    const read = stream.next() ?? "";
    if ("([{".includes(read)) state.depth = (state.depth ?? 0) + 1;
    else if (")]}".includes(read)) state.depth = Math.max((state.depth ?? 0) - 1, 0);
  }
  return "template";
}

/**
 * Read a word behind the magic: an option, its value, or part of a prompt.
 * @param {Stream} stream
 * @param {State} state
 */
function word(stream, state) {
  const begins = state.value;
  state.value = null;
  if (stream.match(/^--(?!\S)/)) {
    state.region = "text"; // on this line and on the next ones
    return "option";
  }
  const [flag] = /** @type {RegExpMatchArray | null} */ (stream.match(FLAG, false)) ?? [];
  if (flag !== undefined && flag in FLAGS) {
    stream.match(flag);
    // The value follows `--flag=` or `-n` directly; otherwise it may be the next word.
    const joined = !stream.eol() && !/\s/.test(stream.peek() ?? "");
    state.value = joined ? "" : FLAGS[flag];
    return "option";
  }
  stream.match(WORD) || stream.next();
  const read = stream.current();
  if (begins !== null && !LOOKS_LIKE_FLAG.test(read) && read.search(begins) === 0) return "value";
  const opening = read.indexOf("{{");
  if (opening > 0) stream.backUp(read.length - opening);
  return null;
}

/** @type {import("@codemirror/language").StreamParser<State>} */
export const reader = {
  name: "xai-prompt",
  startState: () => ({ region: "start", value: null, depth: null }),
  token(stream, state) {
    if (state.region === "line" && stream.sol()) state.region = "text";
    if (state.depth !== null) return expression(stream, state);
    if (state.region !== "text" && stream.eatSpace()) return null;
    if (state.region === "start") {
      state.region = "line";
      if (stream.match(MAGIC)) return "magic";
    }
    if (stream.match("{{")) {
      state.value = null; // the template is the value
      state.depth = 0;
      return expression(stream, state);
    }
    if (state.region === "line") return word(stream, state);
    if (!stream.skipTo("{{")) stream.skipToEnd();
    return null;
  },
};

const TAGS = {
  magic: Tag.define(),
  option: Tag.define(),
  value: Tag.define(),
  template: Tag.define(),
};

export const prompt = StreamLanguage.define({ ...reader, tokenTable: TAGS });

export const style = HighlightStyle.define(
  Object.entries(TAGS).map(([name, tag]) => ({ tag, class: `xai-${name}` })),
);
