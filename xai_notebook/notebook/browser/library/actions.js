// The actions on selected pictures.

import { button, h } from "../shared/elements.js";
import { counted } from "../shared/words.js";

/**
 * @typedef {object} Handlers
 * @property {(name: string, more?: Record<string, unknown>) => unknown} act
 * @property {() => unknown} open
 * @property {() => unknown} compare
 * @property {() => unknown} undo
 * @property {boolean} writes  the user may change the library
 * @property {boolean} variables  the user may set variables
 */

export class Actions {
  /** @param {Handlers} handlers */
  constructor({ act, open, compare, undo, writes, variables }) {
    this.act = act;
    this.count = h("span", { class: "xai-quiet xai-count", role: "status" });
    this.tagField = textField("Tag", "tag", () => this.tag(true));
    this.nameField = textField("Name of the variable", "name", () => this.use());
    this.forOne = [button("Open", open), button("Edit in a panel", () => act("edit"))];
    this.forTwo = [button("Compare", compare)];
    this.star = button("Star", () => act("star"));
    const tag = [button("Tag", () => this.tag(true)), button("Untag", () => this.tag(false))];
    const files = [
      button("Export", () => act("export")),
      button("Contact sheet", () => act("sheet")),
    ];
    const use = button("Use as variable", () => this.use());
    this.delete = button("Delete", () => act("delete"));
    this.restore = button("Restore", () => act("restore"));
    this.forAny = [this.star, ...tag, ...files, use, this.delete, this.restore];
    this.undo = button("Undo", undo, { hidden: true });
    this.message = h("span", { class: "xai-quiet", role: "status" });
    this.tools = h(
      "div",
      {
        class: "xai-row xai-actions",
        role: "group",
        "aria-label": "Actions on the selected pictures",
      },
      group(...this.forOne, ...this.forTwo, ...(writes ? [this.star] : [])),
      ...(writes
        ? [
            group(this.tagField, ...tag),
            group(...files),
            ...(variables ? [group(this.nameField, use)] : []),
            group(this.delete, this.restore),
          ]
        : []),
    );
    this.element = h(
      "div",
      { class: "xai-doing" },
      this.tools,
      h("div", { class: "xai-row xai-said" }, this.count, this.message, this.undo),
    );
  }

  /**
   * @param {number} count
   * @param {{ starred: boolean, trash: boolean }} state  `starred`: all selected pictures have a star; `trash`: the trash is shown
   */
  enable(count, { starred, trash }) {
    this.count.textContent = count ? `${counted(count)} selected` : "Nothing selected";
    for (const control of this.forAny) control.disabled = count === 0;
    for (const control of this.forOne) control.disabled = count !== 1;
    for (const control of this.forTwo) control.disabled = count !== 2;
    this.star.textContent = starred ? "Remove star" : "Star";
    this.delete.hidden = trash;
    this.restore.hidden = !trash;
  }

  /** @param {boolean} value */
  tag(value) {
    const tag = this.tagField.value.trim();
    if (tag) this.act("tag", { tag, value });
    else this.tagField.focus();
  }

  use() {
    const name = this.nameField.value.trim();
    if (name) this.act("use", { name });
    else this.nameField.focus();
  }
}

/** @param {Node[]} children */
const group = (...children) => h("span", { class: "xai-row xai-together" }, children);

/**
 * @param {string} name
 * @param {string} placeholder
 * @param {() => void} enter
 */
const textField = (name, placeholder, enter) =>
  h("input", {
    type: "text",
    "aria-label": name,
    placeholder,
    maxlength: 60,
    size: 9,
    spellcheck: "false",
    onkeydown: (event) => event.key === "Enter" && enter(),
  });
