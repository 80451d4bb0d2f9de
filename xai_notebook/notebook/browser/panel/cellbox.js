// The equivalent cell: to read, to copy, and to insert into the notebook.

import { button, copyButton, h, remember, remembered, setText } from "../shared/elements.js";

export class CellBox {
  /**
   * @param {import("../messages.js").PanelModel} model
   * @param {(text: string, visibly?: boolean) => void} announce
   */
  constructor(model, announce) {
    this.model = model;
    this.announce = announce;
    this.code = h("code");
    const cells = model.get("cells");
    const noun = cells ? "Cell" : "Call";
    const label = { role: "group", "aria-label": `Equivalent ${noun.toLowerCase()}` };
    this.cell = h("pre", { class: "xai-cell", tabindex: 0, ...label }, this.code);
    this.note = h("span", { class: "xai-quiet" });
    this.copy = copyButton(
      "Copy",
      () => this.code.textContent ?? "",
      (text) => announce(text),
      { "aria-label": `Copy the ${noun.toLowerCase()}` },
      noun,
    );
    this.insert = button("Insert as cell", () => this.#insert(), { hidden: true });
    this.element = h(
      "details",
      { class: "xai-cellbox", open: remembered("cell") !== "folded" },
      h("summary", { class: "xai-title" }, cells ? "The same as a cell" : "The same in Python"),
      h(
        "div",
        { class: "xai-row" },
        this.note,
        h("span", { class: "xai-row xai-end" }, this.copy, this.insert),
      ),
      this.cell,
    );
    this.element.addEventListener("toggle", () =>
      remember("cell", this.element.open ? "shown" : "folded"),
    );
  }

  /** The notebook's shared model, in JupyterLab and Notebook 7. */
  get notebook() {
    const manager = /** @type {any} */ (this.model.widget_manager);
    return manager?.context?.model?.sharedModel;
  }

  /** Insert the cell below the panel's cell. */
  #insert() {
    const { cells } = this.notebook;
    const id = this.model.get("cell_id");
    const at = cells.findIndex((/** @type {{ id: string }} */ cell) => cell.id === id);
    const source = this.code.textContent ?? "";
    this.notebook.insertCell(at < 0 ? cells.length : at + 1, { cell_type: "code", source });
    this.announce("The cell is below this one.", true);
  }

  /** @param {string} alert  an error that is shown elsewhere and not repeated here */
  show(alert = "") {
    const text = this.model.get("cell");
    this.code.textContent = text;
    this.cell.hidden = this.copy.hidden = text === "";
    this.insert.hidden = text === "" || !this.notebook?.insertCell;
    const note = this.model.get("cell_note");
    setText(this.note, note === alert ? "" : note);
  }
}
