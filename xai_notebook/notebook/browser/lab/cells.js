// What an editor of a code cell does when its cell is a prompt, or some of its lines are.

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

const LINE = /^\s*(?:[\w.[\]]+\s*=\s*)?(?=%xai_\w+(?!\S))/;
const PLAIN = "xai-text";
const UNPAIRED = { closeBrackets: { brackets: [] } };

const UPRIGHT = { fontStyle: "normal", fontWeight: "normal" }; // whatever Python sees there
// Of the colours of JupyterLab's themes, those that can be read in each of them.
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
  // What is found has the colour of what is found.
  ".cm-searching span": { color: "inherit" },
  // What looks like a bracket in a prompt is none.
  "&.xai-prompt .cm-matchingBracket, &.xai-prompt .cm-nonmatchingBracket": {
    color: "inherit !important",
    backgroundColor: "transparent !important",
  },
});

/** A cell that is a prompt, whatever language its kernel speaks. */
const text = [
  Prec.highest([prompt, EditorState.languageData.of(() => [UNPAIRED])]),
  syntaxHighlighting(style),
  EditorView.lineWrapping,
  EditorView.editorAttributes.of({ class: "xai-prompt" }),
];

/**
 * Return where the magic stands in a line; undefined: there is none of ours.
 * @param {string} line
 */
function magicOf(line) {
  return LINE.exec(line)?.[0].length;
}

/**
 * Mark the lines with a magic, of those in sight.
 * @param {EditorView} view
 */
function marksOf({ state, visibleRanges }) {
  /** @type {RangeSetBuilder<Decoration>} */
  const marks = new RangeSetBuilder();
  /** @type {(from: number, to: number, name: string) => void} */
  const mark = (from, to, name) => {
    if (from < to) marks.add(from, to, Decoration.mark({ class: name }));
  };
  let next = 0; // two ranges may be of one line
  for (const range of visibleRanges) {
    for (next = Math.max(next, range.from); next <= range.to; ) {
      const line = state.doc.lineAt(next);
      next = line.to + 1;
      const magic = magicOf(line.text);
      if (magic === undefined) continue;
      const start = line.from + magic;
      let place = start;
      const tree = prompt.parser.parse(line.text.slice(magic));
      highlightTree(tree, style, (from, to, name) => {
        mark(place, start + from, PLAIN);
        mark(start + from, start + to, name);
        place = start + to;
      });
      mark(place, line.to, PLAIN);
    }
  }
  return marks.finish();
}

class Lines {
  /** @param {EditorView} view */
  constructor(view) {
    this.marks = marksOf(view);
  }

  /** @param {import("@codemirror/view").ViewUpdate} update */
  update({ docChanged, viewportChanged, view }) {
    if (docChanged || viewportChanged) this.marks = marksOf(view);
  }
}

/** A cell of which lines may be prompts. Marks of high precedence are inside those of its language. */
const code = Prec.highest([
  ViewPlugin.fromClass(Lines, { decorations: ({ marks }) => marks }),
  EditorState.languageData.of((state, position) =>
    magicOf(state.doc.lineAt(position).text) === undefined ? [] : [UNPAIRED],
  ),
]);

/**
 * Return what makes a cell text in the very change that gives it the magic, and code again likewise.
 * @param {string} source What the cell holds at first.
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
    if (!("type" in model) || model.type !== "code") return null; // no cell of code
    return EditorExtensionRegistry.createImmutableExtension(
      textOrCode(model.sharedModel.getSource()),
    );
  },
};
