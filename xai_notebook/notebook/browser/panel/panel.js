// @ts-nocheck
// The panel: puts the parts together and keeps them in step with the kernel.

import { copyText, h, keepList, remember, remembered, setText } from "../shared/elements.js";
import { Form } from "./form.js";
import { Gallery } from "./gallery.js";
import { CARD } from "./store.js";
import { Viewer } from "./viewer.js";

const DEBOUNCE = 150; // milliseconds between a keystroke and the cell that follows it
const UNDER_WAY = new Set(["queued", "running"]); // states of a generation that has not ended
const GONE =
  "The kernel that this panel belongs to has restarted or is gone. Run this cell again to go on: what was made is in the library.";
const PATIENCE = 2000; // milliseconds before the kernel's silence is worth a line

export class View {
  constructor(model, store) {
    this.model = model;
    this.store = store;
    this.compared = [];
    this.form = new Form(model, store, {
      onchange: () => this.formChanged(),
      generate: () => this.generate(),
    });
    const save = (card) => this.store.send({ kind: "save", ids: [card.id] });
    const edit = (card) => this.form.editCard(card, `${card.name}, made here`);
    this.viewer = new Viewer(store, { save, edit, next: (card, by) => this.neighbour(card, by) });
    this.viewer.element.addEventListener("close", () => this.choose([]));
    this.gallery = new Gallery(store, {
      save,
      edit,
      reference: (card) => this.form.addCard(card, `${card.name}, made here`),
      use: (card) => this.store.send({ kind: "use", id: card.id }),
      words: (card) => this.store.send({ kind: "use", id: card.id, words: true }),
      more: (card) => this.store.send({ kind: "more", id: card.id }),
      full: (card) => this.viewer.open(card),
      compare: (card) => this.compare(card),
    });
    this.makeRows();
    this.element = h(
      "section",
      { class: "xai-panel", "aria-label": "xAI image panel" },
      this.header,
      this.form.element,
      this.filled,
      this.bar,
      this.alert,
      this.jobs,
      this.cellBox,
      this.galleryHead,
      this.gallery.element,
      this.kept,
      this.status,
      this.viewer.element,
    );
    this.element.addEventListener("keydown", (event) => this.passSave(event));
    this.takeFiles();
  }

  /** Files and cards can be dropped everywhere, and files pasted. */
  takeFiles() {
    const over = (on) => this.form.inputs.classList.toggle("xai-over", on);
    for (const kind of ["dragenter", "dragover"])
      this.element.addEventListener(kind, (event) => {
        const { types } = event.dataTransfer;
        if (!types.includes(CARD) && !types.includes("Files")) return;
        event.preventDefault();
        event.stopPropagation();
        over(true);
      });
    this.element.addEventListener("dragleave", (event) => {
      if (!this.element.contains(event.relatedTarget)) over(false);
    });
    this.element.addEventListener("dragend", () => over(false));
    this.element.addEventListener("drop", (event) => {
      over(false);
      const card = this.gallery.cards.get(event.dataTransfer.getData(CARD));
      if (!card && event.dataTransfer.files.length === 0) return;
      event.preventDefault();
      event.stopPropagation();
      if (card) this.form.addCard(card, `${card.name}, made here`);
      else this.form.addFiles(event.dataTransfer.files, !this.form.inputs.contains(event.target));
    });
    this.element.addEventListener("paste", (event) => {
      if (event.clipboardData.files.length === 0) return;
      event.preventDefault();
      event.stopPropagation();
      this.form.addFiles(event.clipboardData.files);
    });
  }

  /** The card so many pictures on, as they stand on the page. */
  neighbour(card, by) {
    const shown = [...this.gallery.element.querySelectorAll(".xai-card:has(img)")].map(
      (item) => item.dataset.key,
    );
    return this.gallery.cards.get(shown[shown.indexOf(card.id) + by]);
  }

  makeRows() {
    this.place = h("span", { class: "xai-chip" });
    this.header = h(
      "header",
      { class: "xai-row xai-between" },
      h("h2", { class: "xai-title" }, "xAI images"),
      this.place,
    );
    this.button = h(
      "button",
      { type: "button", class: "xai-button xai-primary", onclick: () => this.generate() },
      "Generate",
    );
    this.handOver = h(
      "button",
      {
        type: "button",
        class: "xai-button",
        onclick: () => this.generate("hand_over"),
        title: "The images are made by a job of the server's, which goes on without this kernel.",
      },
      "Hand over as a job",
    );
    this.estimate = h("span", { class: "xai-quiet" });
    this.spent = h("span", { class: "xai-quiet xai-end" });
    this.bar = h(
      "div",
      { class: "xai-row xai-bar" },
      this.button,
      this.handOver,
      this.estimate,
      this.spent,
    );
    this.filled = h("div", { class: "xai-row xai-filled", hidden: true });
    this.alert = h("p", { class: "xai-alert", role: "alert", hidden: true });
    this.jobs = h("ul", {
      class: "xai-jobs",
      role: "list",
      "aria-label": "Generations",
      hidden: true,
    });
    this.status = h("div", { class: "xai-unseen", role: "status" });
    this.saveAll = h(
      "button",
      { type: "button", class: "xai-button xai-small", onclick: () => this.saveEverything() },
      "Save all",
    );
    this.savedNote = h("span", { class: "xai-quiet" });
    this.compareHint = h(
      "p",
      { class: "xai-comparing" },
      "Choose the picture to compare with. ",
      h(
        "button",
        { type: "button", class: "xai-link", onclick: () => this.choose([]) },
        "Stop comparing",
      ),
    );
    this.galleryHead = h(
      "div",
      { class: "xai-row xai-galleryhead" },
      h("h3", { class: "xai-title" }, "Pictures"),
      this.saveAll,
      this.savedNote,
      h(
        "span",
        { class: "xai-row xai-end" },
        h("label", { class: "xai-quiet", for: this.gallery.size.id }, "Size"),
        this.gallery.size,
      ),
    );
    this.makeCell();
    this.makeKept();
  }

  makeCell() {
    this.cell = h(
      "pre",
      { class: "xai-cell", tabindex: 0, role: "group", "aria-label": "Equivalent cell" },
      h("code"),
    );
    this.cellNote = h("span", { class: "xai-quiet" });
    this.copy = h(
      "button",
      {
        type: "button",
        class: "xai-button xai-small",
        onclick: async () => {
          const copied = await copyText(this.model.get("cell"));
          this.copy.textContent = copied ? "Copied" : "Not copied";
          this.announce(copied ? "The cell is in the clipboard." : "Select the cell and copy it.");
          setTimeout(() => (this.copy.textContent = "Copy"), 2000);
        },
      },
      "Copy",
    );
    this.copy.setAttribute("aria-label", "Copy the cell");
    this.insert = h(
      "button",
      { type: "button", class: "xai-button xai-small", onclick: () => this.insertCell() },
      "Insert as cell",
    );
    this.cellBox = h(
      "details",
      {
        class: "xai-cellbox",
        open: remembered("cell") !== "folded",
        ontoggle: () => remember("cell", this.cellBox.open ? "shown" : "folded"),
      },
      h("summary", { class: "xai-title" }, "The same as a cell"),
      h(
        "div",
        { class: "xai-row" },
        this.cellNote,
        h("span", { class: "xai-row xai-end" }, this.copy, this.insert),
      ),
      this.cell,
    );
  }

  /** The cells of the notebook, where the page lets us see them: JupyterLab and Notebook 7 do. */
  get notebook() {
    return this.model.widget_manager?.context?.model?.sharedModel;
  }

  /** Put the equivalent cell below the one that shows the panel. */
  insertCell() {
    const { notebook } = this;
    const at = notebook.cells.findIndex((cell) => cell.id === this.model.get("cell_id"));
    notebook.insertCell(at < 0 ? notebook.cells.length : at + 1, {
      cell_type: "code",
      source: this.model.get("cell"),
    });
    this.announce("The cell stands below this one.", true);
  }

  makeKept() {
    this.showKept = h(
      "button",
      {
        type: "button",
        class: "xai-link",
        "aria-pressed": "false",
        onclick: () => {
          const shown = this.element.classList.toggle("xai-show-outputs");
          this.showKept.setAttribute("aria-pressed", String(shown));
          this.showKept.textContent = shown ? "Hide them" : "Show them";
        },
      },
      "Show them",
    );
    this.older = h("span");
    this.kept = h(
      "p",
      { class: "xai-quiet xai-kept" },
      "The pictures are outputs of this cell, too: they stay when the notebook is saved. ",
      this.showKept,
      this.older,
    );
  }

  // From the user

  formChanged() {
    clearTimeout(this.timer);
    this.timer = setTimeout(
      () => this.store.send({ kind: "form", form: this.form.values }),
      DEBOUNCE,
    );
    this.showEstimate();
  }

  /** kind: "generate", or "hand_over" for a job. */
  generate(kind = "generate") {
    if (this.button.disabled) return;
    if (!this.form.values.prompt.trim()) {
      this.complain("There is no prompt. Write what the image should show.");
      this.form.focusPrompt();
      return;
    }
    clearTimeout(this.timer);
    this.complain("");
    this.button.disabled = this.handOver.disabled = true;
    this.store.send({ kind, form: this.form.values });
    this.waiting = setTimeout(() => {
      this.announce("The kernel has not answered yet. It may be busy.", true);
    }, PATIENCE);
  }

  /** The kernel has taken a generation or refused it. */
  answered() {
    clearTimeout(this.waiting);
    this.estimateNote = "";
    this.button.disabled = this.handOver.disabled = false;
    this.showEstimate();
  }

  saveEverything() {
    const ids = this.model
      .get("cards")
      .filter((card) => card.ok)
      .map((card) => card.id);
    this.store.send({ kind: "save", ids });
  }

  compare(card) {
    const others = this.compared.filter((id) => id !== card.id);
    if (others.length === this.compared.length) others.push(card.id);
    this.choose(others);
    if (others.length < 2) {
      this.announce(others.length ? "Choose the picture to compare with." : "Not compared.");
      return;
    }
    this.viewer.open(...others.map((id) => this.gallery.cards.get(id)));
  }

  choose(ids) {
    this.compared = ids;
    this.gallery.mark(ids, this.compareHint);
  }

  /** What made a picture, or what a file tells of, comes into the form: and what was there, again. */
  fill({ form, note, upload }) {
    const before = structuredClone(this.form.values);
    before.inputs = before.inputs.filter(({ id }) => id !== upload);
    const back = (inputs) => {
      this.form.fill({ ...before, inputs });
      this.filled.hidden = true;
      this.form.focusPrompt();
    };
    const link = (text, onclick) =>
      h("button", { type: "button", class: "xai-link", onclick }, text);
    const file = upload && this.form.values.inputs.find(({ id }) => id === upload);
    this.filled.replaceChildren(
      h("span", { role: "status" }, note),
      link("Undo", () => back(before.inputs)),
      ...(file ? [link("Edit the picture instead", () => back([...before.inputs, file]))] : []),
    );
    this.filled.hidden = false;
    this.form.fill(form);
    this.form.focusPrompt();
  }

  /** Shortcuts of the notebook are off in controls of the panel; saving is not. */
  passSave(event) {
    if (event.key.toLowerCase() !== "s" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    const { key, code, keyCode, ctrlKey, metaKey, shiftKey } = event;
    this.element.parentElement?.dispatchEvent(
      new KeyboardEvent("keydown", {
        key,
        code,
        keyCode,
        ctrlKey,
        metaKey,
        shiftKey,
        bubbles: true,
        cancelable: true,
      }),
    );
  }

  // To the user

  announce(text, visibly = false) {
    this.status.textContent = text;
    if (visibly) {
      this.estimateNote = text;
      this.showEstimate();
    }
  }

  complain(text) {
    setText(this.alert, text);
  }

  showEstimate() {
    this.estimate.textContent = this.estimateNote || this.form.estimate();
  }

  showJobs() {
    const jobs = this.model.get("jobs");
    keepList(this.jobs, jobs, {
      key: "id",
      make: (job) => this.job(job),
      update: (element, job) => this.refreshJob(element, job),
      empty: () => this.button.focus(),
    });
    this.button.textContent = jobs.some((job) => UNDER_WAY.has(job.state))
      ? "Add to the queue"
      : "Generate";
    this.showGallery();
  }

  job({ id, prompt }) {
    return h(
      "li",
      { class: "xai-job" },
      h("span", { class: "xai-spinner", "aria-hidden": "true" }),
      h(
        "div",
        { class: "xai-jobtext" },
        h("span", { class: "xai-jobprompt", dir: "auto" }, prompt),
        h("span", { class: "xai-jobline" }),
      ),
      h(
        "button",
        {
          type: "button",
          class: "xai-button xai-small",
          "aria-label": `Try again: ${prompt.slice(0, 60)}`,
          onclick: () => this.store.send({ kind: "again", id }),
        },
        "Try again",
      ),
      h("button", {
        type: "button",
        class: "xai-button xai-small",
        onclick: (event) => {
          const { state } = event.currentTarget.closest("li").dataset;
          this.store.send({ kind: UNDER_WAY.has(state) ? "cancel" : "dismiss", id });
        },
      }),
    );
  }

  refreshJob(element, { prompt, state, line }) {
    element.dataset.state = state;
    const text = element.querySelector(".xai-jobline");
    if (state === "failed" && text.getAttribute("role") !== "alert")
      text.setAttribute("role", "alert");
    setText(text, line);
    const [again, button] = element.querySelectorAll("button");
    again.hidden = UNDER_WAY.has(state);
    const label = UNDER_WAY.has(state) ? "Cancel" : "Dismiss";
    setText(button, label);
    button.setAttribute("aria-label", `${label}: ${prompt.slice(0, 60)}`);
  }

  showGallery() {
    const cards = this.model.get("cards");
    this.gallery.show(cards, this.model.get("jobs"));
    this.gallery.mark(this.compared, this.compareHint);
    const pictures = cards.filter((card) => card.ok).length;
    this.galleryHead.hidden = cards.length === 0;
    const earlier = this.model.get("earlier");
    setText(
      this.older,
      earlier ? ` ${earlier} older ones are in the library: %xai_library shows them.` : "",
    );
    this.saveAll.hidden = pictures < 2;
    this.kept.hidden = cards.length === 0;
    setText(this.savedNote, this.model.get("saved"));
  }

  showCell() {
    const text = this.model.get("cell");
    this.cell.firstChild.textContent = text;
    this.cell.hidden = this.copy.hidden = text === "";
    this.insert.hidden = text === "" || !this.notebook?.insertCell;
    setText(this.cellNote, this.model.get("cell_note"));
  }

  showPlace() {
    setText(this.place, this.model.get("place"));
    setText(this.spent, this.model.get("spent"));
  }

  /** Everything at once, and what follows each change. Returns what undoes it. */
  start() {
    const { model, store } = this;
    const answered = (show) => () => {
      this.answered();
      show();
    };
    const follow = [
      ["jobs", answered(() => this.showJobs())],
      ["cards", () => this.showGallery()],
      ["saved", () => this.showGallery()],
      ["models", () => this.form.showModels()],
      ["models", () => this.showEstimate()],
      ["models_note", () => this.form.showModels()],
      ["asking", () => this.form.showModels()],
      ["cell", () => this.showCell()],
      ["cell_note", () => this.showCell()],
      ["place", () => this.showPlace()],
      ["spent", () => this.showPlace()],
      ["trouble", answered(() => this.complain(model.get("trouble")))],
      ["said", answered(() => this.announce(model.get("said").text))],
    ];
    for (const [name, listener] of follow) model.on(`change:${name}`, listener);
    const pictured = () => {
      this.form.showInputs();
      this.showGallery();
    };
    const ready = () => {
      clearTimeout(this.silence);
      this.element.classList.add("xai-alive"); // so the outputs below need not be seen
      this.complain(model.get("trouble"));
    };
    const gone = () => {
      this.answered();
      this.complain(GONE);
    };
    // After a restart the page still shows the panel, but it is nobody's: say so before a click.
    const parted = () => this.knock();
    const input = (event) => this.form.answered(event.detail);
    const fill = (event) => this.fill(event.detail);
    store.addEventListener("picture", pictured);
    store.addEventListener("input", input);
    store.addEventListener("fill", fill);
    store.addEventListener("ready", ready);
    store.addEventListener("gone", gone);
    const take = (event) => this.form.editCard({ id: event.detail }, "a picture from the library");
    store.addEventListener("take", take);
    model.on("comm_live_update", parted);
    for (const [, show] of follow.slice(0, -1)) show();
    store.need(this.form.values.inputs.map((input) => input.id));
    this.knock();
    return () => {
      for (const [name, listener] of follow) model.off(`change:${name}`, listener);
      store.removeEventListener("picture", pictured);
      store.removeEventListener("input", input);
      store.removeEventListener("fill", fill);
      store.removeEventListener("ready", ready);
      store.removeEventListener("gone", gone);
      store.removeEventListener("take", take);
      model.off("comm_live_update", parted);
      clearTimeout(this.silence);
      clearTimeout(this.timer);
    };
  }

  /** Ask whether the kernel is there: a saved page keeps the form, but nobody listens. */
  knock() {
    clearTimeout(this.silence);
    this.store.alive = false;
    if (!this.store.send({ kind: "hello" })) return;
    this.silence = setTimeout(() => {
      if (!this.store.alive)
        this.complain("No answer from the kernel. It is busy, or gone: then run this cell again.");
    }, 2 * PATIENCE);
  }
}
