// Editors of code cells whose text, or some of whose lines, are prompts.

import { syntaxHighlighting } from "@codemirror/language";
import { Compartment, EditorState, Prec, RangeSetBuilder } from "@codemirror/state";
import { Decoration, EditorView, ViewPlugin } from "@codemirror/view";
import { EditorExtensionRegistry } from "@jupyterlab/codemirror";
import { highlightTree } from "@lezer/highlight";
import { isPrompt, prompt, style } from "./prompt.js";

/**
 * @typedef {import("@codemirror/state").Extension} Extension
 * @typedef {import("@codemirror/view").DecorationSet} DecorationSet
 * @typedef {import("@jupyterlab/codemirror").IEditorExtensionFactory} Factory
 */

const MAGIC_LINE = /^\s*(?:[\w.[\]]+\s*=\s*)?(?=%xai_\w+(?!\S))/;
const PLAIN = "xai-text";
const NO_CLOSING_BRACKETS = { closeBrackets: { brackets: [] } };

const UPRIGHT = { fontStyle: "normal", fontWeight: "normal" }; // overrides Python's highlighting
// Colours that are readable in each of JupyterLab's themes.
const theme = EditorView.baseTheme({
  [`.${PLAIN}`]: { ...UPRIGHT, color: "var(--jp-content-font-color1)" },
  ".xai-magic": { ...UPRIGHT, color: "var(--jp-mirror-editor-operator-color)" },
  ".xai-option": { ...UPRIGHT, color: "var(--jp-mirror-editor-property-color)" },
  ".xai-value": { ...UPRIGHT, color: "var(--jp-mirror-editor-keyword-color)" },
  ".xai-template": {
    ...UPRIGHT,
    color: "var(--jp-mirror-editor-string-color)",
    backgroundColor: "color-mix(in srgb, currentcolor 8%, transparent)",
    borderRadius: "3px",
  },
  // Search matches keep the colour of matches.
  ".cm-searching span": { color: "inherit" },
  // Brackets in a prompt are text.
  "&.xai-prompt .cm-matchingBracket, &.xai-prompt .cm-nonmatchingBracket": {
    color: "inherit !important",
    backgroundColor: "transparent !important",
  },
});

/** Extensions for a cell that is a prompt, whatever its kernel's language. */
const text = [
  Prec.highest([prompt, EditorState.languageData.of(() => [NO_CLOSING_BRACKETS])]),
  syntaxHighlighting(style),
  EditorView.lineWrapping,
  EditorView.editorAttributes.of({ class: "xai-prompt" }),
];

/**
 * Return the offset of our magic in a line; undefined in other lines.
 * @param {string} line
 */
function magicOf(line) {
  return MAGIC_LINE.exec(line)?.[0].length;
}

/**
 * Highlight the visible lines that have our magic.
 * @param {EditorView} view
 */
function marksOf({ state, visibleRanges }) {
  /** @type {RangeSetBuilder<Decoration>} */
  const marks = new RangeSetBuilder();
  /** @type {(from: number, to: number, name: string) => void} */
  const mark = (from, to, name) => {
    if (from < to) marks.add(from, to, Decoration.mark({ class: name }));
  };
  let next = 0; // two ranges may share a line
  for (const range of visibleRanges) {
    for (next = Math.max(next, range.from); next <= range.to; ) {
      const line = state.doc.lineAt(next);
      next = line.to + 1;
      const magic = magicOf(line.text);
      if (magic === undefined) continue;
      const start = line.from + magic;
      let plainFrom = start;
      const tree = prompt.parser.parse(line.text.slice(magic));
      highlightTree(tree, style, (from, to, name) => {
        mark(plainFrom, start + from, PLAIN);
        mark(start + from, start + to, name);
        plainFrom = start + to;
      });
      mark(plainFrom, line.to, PLAIN);
    }
  }
  return marks.finish();
}

class MagicLines {
  /** @param {EditorView} view */
  constructor(view) {
    this.marks = marksOf(view);
  }

  /** @param {import("@codemirror/view").ViewUpdate} update */
  update({ docChanged, viewportChanged, view }) {
    if (docChanged || viewportChanged) this.marks = marksOf(view);
  }
}

/** Extensions for a cell whose lines may be prompts. Marks of high precedence are inside those of the cell's language. */
const code = Prec.highest([
  ViewPlugin.fromClass(MagicLines, { decorations: ({ marks }) => marks }),
  EditorState.languageData.of((state, position) =>
    magicOf(state.doc.lineAt(position).text) === undefined ? [] : [NO_CLOSING_BRACKETS],
  ),
]);

/**
 * Return the extension that treats a cell as text while it begins with the magic, else as code.
 * @param {string} source The cell's first text.
 */
export function textOrCode(source) {
  const chosen = new Compartment();
  /** @param {Iterable<string>} lines */
  const choose = (lines) => (isPrompt(lines) ? text : code);
  return [
    theme,
    chosen.of(choose(source.split("\n"))),
    EditorState.transactionExtender.of((change) => {
      if (!change.docChanged) return null;
      const wanted = choose(change.newDoc.iterLines());
      if (wanted === chosen.get(change.startState)) return null;
      return { effects: chosen.reconfigure(wanted) };
    }),
  ];
}

/** @type {Factory} */
export const factory = {
  name: "xai-notebook:prompt",
  factory: ({ model }) => {
    if (!("type" in model) || model.type !== "code") return null; // not a code cell
    return EditorExtensionRegistry.createImmutableExtension(
      textOrCode(model.sharedModel.getSource()),
    );
  },
};
