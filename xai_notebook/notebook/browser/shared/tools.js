// The viewer's buttons: previous and next, zoom, and actions on the picture.

import { button, h } from "./elements.js";

/**
 * @typedef {object} Handlers
 * @property {(by: number) => unknown} step
 * @property {(key: string) => unknown} press  does what the key does
 * @property {() => unknown} turn  switches to the comparison with the parent, and back
 * @property {() => unknown} close
 */

export class Tools {
  /**
   * @param {Handlers} handlers
   * @param {{ save?: unknown, edit?: unknown, star?: unknown }} offered
   */
  constructor({ step, press, turn, close }, offered) {
    /** @param {string} label @param {string} key @param {string} name */
    const tool = (label, key, name) => button(label, () => press(key), { "aria-label": name });
    this.before = button("←", () => step(-1), { "aria-label": "Previous picture (←)" });
    this.after = button("→", () => step(1), { "aria-label": "Next picture (→)" });
    this.percent = h("span", { class: "xai-quiet xai-percent" });
    this.star = tool("☆ Star", "*", "Star (*)");
    this.turn = button("Before and after", turn, { hidden: true });
    /** Buttons that a comparison hides. */
    this.single = [
      this.before,
      this.after,
      ...(offered.star ? [this.star] : []),
      ...(offered.save ? [tool("Save", "s", "Save (S)")] : []),
      ...(offered.edit ? [tool("Edit this", "e", "Edit this (E)")] : []),
    ];
    this.zooms = h(
      "div",
      { class: "xai-row xai-tools" },
      tool("−", "-", "Smaller (−)"),
      this.percent,
      tool("+", "+", "Larger (+)"),
      tool("Fit", "0", "Fit (0)"),
      tool("1:1", "1", "Full size, one image pixel per screen pixel (1)"),
    );
    this.acts = h("div", { class: "xai-row xai-tools" }, this.turn, this.single.slice(2));
    this.close = button("✕", close, { class: "xai-small xai-close", "aria-label": "Close" });
  }

  /**
   * @param {boolean} two
   * @param {boolean} fromPicture  the comparison was opened from one of the two pictures
   */
  show(two, fromPicture) {
    for (const control of this.single) control.hidden = two;
    this.turn.hidden = !fromPicture;
    this.turn.textContent = "Back to the picture";
  }

  /** @param {import("../messages.js").Picture} picture */
  update({ id, starred, lineage }) {
    this.turn.hidden = lineage.ancestors.length === 0;
    this.turn.textContent = "Before and after";
    this.star.disabled = id === null;
    this.star.textContent = starred ? "★ Starred" : "☆ Star";
    this.star.setAttribute("aria-label", `${starred ? "Remove star" : "Star"} (*)`);
  }
}
