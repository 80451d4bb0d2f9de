// The actions on selected pictures.

import { button, h } from "../shared/elements.js";
import { counted } from "../shared/words.js";

/**
 * @typedef {object} Doer
 * @property {(name: string, more?: Record<string, unknown>) => unknown} act
 * @property {() => unknown} open
 * @property {() => unknown} compare
 * @property {() => unknown} undo
 * @property {boolean} writes  the user may change the library
 */

export class Actions {
  /** @param {Doer} doer */
  constructor({ act, open, compare, undo, writes }) {
    this.act = act;
    this.count = h("span", { class: "xai-quiet xai-count", role: "status" });
    this.tagField = word("Tag", "tag", () => this.tag(true));
    this.nameField = word("Name of the variable", "name", () => this.use());
    /** For one picture, for two, and for any number. */
    this.one = [button("Open", open), button("Edit in a panel", () => act("edit"))];
    this.two = [button("Compare", compare)];
    this.star = button("Star", () => act("star"));
    const tag = [button("Tag", () => this.tag(true)), button("Untag", () => this.tag(false))];
    const keep = [
      button("Export", () => act("export")),
      button("Contact sheet", () => act("sheet")),
    ];
    const use = button("Use as variable", () => this.use());
    this.delete = button("Delete", () => act("delete"));
    this.restore = button("Restore", () => act("restore"));
    this.any = [this.star, ...tag, ...keep, use, this.delete, this.restore];
    this.undo = button("Undo", undo, { hidden: true });
    this.message = h("span", { class: "xai-quiet", role: "status" });
    this.tools = h(
      "div",
      {
        class: "xai-row xai-actions",
        role: "group",
        "aria-label": "Actions on the selected pictures",
      },
      group(...this.one, ...this.two, ...(writes ? [this.star] : [])),
      ...(writes
        ? [
            group(this.tagField, ...tag),
            group(...keep),
            group(this.nameField, use),
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
   * @param {{ starred: boolean, trash: boolean }} of  all selected pictures have a star; the trash is shown
   */
  enable(count, { starred, trash }) {
    this.count.textContent = count ? `${counted(count)} selected` : "Nothing selected";
    for (const one of this.any) one.disabled = count === 0;
    for (const one of this.one) one.disabled = count !== 1;
    for (const one of this.two) one.disabled = count !== 2;
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
const word = (name, placeholder, enter) =>
  h("input", {
    type: "text",
    "aria-label": name,
    placeholder,
    maxlength: 60,
    size: 9,
    spellcheck: "false",
    onkeydown: (event) => event.key === "Enter" && enter(),
  });
