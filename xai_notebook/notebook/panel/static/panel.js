// The panel: puts the parts together and keeps them in step with the kernel.

const DEBOUNCE = 150; // milliseconds between a keystroke and the cell that follows it
const UNDER_WAY = new Set(["queued", "running"]); // states of a generation that has not ended
const GONE = "The kernel that this panel belongs to has restarted or is gone. Run this cell again to go on: what was made is in the library.";
const PATIENCE = 2000; // milliseconds before the kernel's silence is worth a line

class View {
  constructor(model, store) {
    this.model = model;
    this.store = store;
    this.compared = [];
    this.form = new Form(model, store, {
      onchange: () => this.formChanged(),
      generate: () => this.generate(),
    });
    this.viewer = new Viewer(store);
    this.viewer.element.addEventListener("close", () => this.choose([]));
    this.gallery = new Gallery(store, {
      save: (card) => this.store.send({ kind: "save", ids: [card.id] }),
      edit: (card) => this.form.editCard(card, `${card.name}, made here`),
      reference: (card) => this.form.addCard(card, `${card.name}, made here`),
      use: (card) => this.form.usePrompt(card.used || card.prompt),
      full: (card) => this.viewer.open("Full size", [card]),
      compare: (card) => this.compare(card),
    });
    this.makeRows();
    this.element = h("section", { class: "xai-panel", "aria-label": "xAI image panel" },
      this.header, this.form.element, this.bar, this.alert, this.jobs, this.cellBox,
      this.galleryHead, this.gallery.element, this.kept, this.status, this.viewer.element);
    this.element.addEventListener("keydown", (event) => this.passSave(event));
  }

  makeRows() {
    this.place = h("span", { class: "xai-chip" });
    this.header = h("header", { class: "xai-row xai-between" },
      h("h2", { class: "xai-title" }, "xAI images"), this.place);
    this.button = h("button", { type: "button", class: "xai-button xai-primary", onclick: () => this.generate() },
      "Generate");
    this.handOver = h("button", { type: "button", class: "xai-button", onclick: () => this.generate("hand_over"),
      title: "The images are made by a job of the server's, which goes on without this kernel." }, "Hand over as a job");
    this.estimate = h("span", { class: "xai-quiet" });
    this.spent = h("span", { class: "xai-quiet xai-end" });
    this.bar = h("div", { class: "xai-row xai-bar" }, this.button, this.handOver, this.estimate, this.spent);
    this.alert = h("p", { class: "xai-alert", role: "alert", hidden: true });
    this.jobs = h("ul", { class: "xai-jobs", role: "list", "aria-label": "Generations", hidden: true });
    this.status = h("div", { class: "xai-unseen", role: "status" });
    this.saveAll = h("button", { type: "button", class: "xai-button xai-small", onclick: () => this.saveEverything() },
      "Save all");
    this.savedNote = h("span", { class: "xai-quiet" });
    this.galleryHead = h("div", { class: "xai-row xai-galleryhead" },
      h("h3", { class: "xai-title" }, "Pictures"), this.saveAll, this.savedNote);
    this.makeCell();
    this.makeKept();
  }

  makeCell() {
    this.cell = h("pre", { class: "xai-cell", tabindex: 0, role: "group", "aria-label": "Equivalent cell" }, h("code"));
    this.cellNote = h("span", { class: "xai-quiet" });
    this.copy = h("button", { type: "button", class: "xai-button xai-small", onclick: async () => {
      const copied = await copyText(this.model.get("cell"));
      this.copy.textContent = copied ? "Copied" : "Not copied";
      this.announce(copied ? "The cell is in the clipboard." : "Select the cell and copy it.");
      setTimeout(() => (this.copy.textContent = "Copy"), 2000);
    } }, "Copy");
    this.copy.setAttribute("aria-label", "Copy the cell");
    this.cellBox = h("div", { class: "xai-cellbox" },
      h("div", { class: "xai-row" }, h("h3", { class: "xai-title" }, "The same as a cell"), this.cellNote,
        h("span", { class: "xai-end" }, this.copy)),
      this.cell);
  }

  makeKept() {
    this.showKept = h("button", { type: "button", class: "xai-link", "aria-pressed": "false", onclick: () => {
      const shown = this.element.classList.toggle("xai-show-outputs");
      this.showKept.setAttribute("aria-pressed", String(shown));
      this.showKept.textContent = shown ? "Hide them" : "Show them";
    } }, "Show them");
    this.kept = h("p", { class: "xai-quiet xai-kept" },
      "The pictures are outputs of this cell, too: they stay when the notebook is saved. ", this.showKept);
  }

  // From the user

  formChanged() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.store.send({ kind: "form", form: this.form.values }), DEBOUNCE);
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
    const ids = this.model.get("cards").filter((card) => card.ok).map((card) => card.id);
    this.store.send({ kind: "save", ids });
  }

  compare(card) {
    const others = this.compared.filter((id) => id !== card.id);
    if (others.length === this.compared.length) others.push(card.id);
    this.choose(others);
    if (others.length < 2) {
      this.announce(others.length ? "Choose another image to compare with." : "Not compared.");
      return;
    }
    this.viewer.open("Compare", others.map((id) => this.gallery.cards.get(id)));
  }

  choose(ids) {
    this.compared = ids;
    this.gallery.mark(ids);
  }

  /** Shortcuts of the notebook are off in controls of the panel; saving is not. */
  passSave(event) {
    if (event.key.toLowerCase() !== "s" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    const { key, code, keyCode, ctrlKey, metaKey, shiftKey } = event;
    this.element.parentElement?.dispatchEvent(new KeyboardEvent("keydown", {
      key, code, keyCode, ctrlKey, metaKey, shiftKey, bubbles: true, cancelable: true,
    }));
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
      ? "Add to the queue" : "Generate";
    this.showGallery();
  }

  job({ id, prompt }) {
    return h("li", { class: "xai-job" },
      h("span", { class: "xai-spinner", "aria-hidden": "true" }),
      h("div", { class: "xai-jobtext" }, h("span", { class: "xai-jobprompt", dir: "auto" }, prompt), h("span", { class: "xai-jobline" })),
      h("button", { type: "button", class: "xai-button xai-small", onclick: (event) => {
        const { state } = event.currentTarget.closest("li").dataset;
        this.store.send({ kind: UNDER_WAY.has(state) ? "cancel" : "dismiss", id });
      } }));
  }

  refreshJob(element, { prompt, state, line }) {
    element.dataset.state = state;
    const text = element.querySelector(".xai-jobline");
    if (state === "failed" && text.getAttribute("role") !== "alert") text.setAttribute("role", "alert");
    setText(text, line);
    const button = element.querySelector("button");
    const label = UNDER_WAY.has(state) ? "Cancel" : "Dismiss";
    setText(button, label);
    button.setAttribute("aria-label", `${label}: ${prompt.slice(0, 60)}`);
  }

  showGallery() {
    const cards = this.model.get("cards");
    this.gallery.show(cards, this.model.get("jobs"));
    this.gallery.mark(this.compared);
    const pictures = cards.filter((card) => card.ok).length;
    this.galleryHead.hidden = cards.length === 0;
    this.saveAll.hidden = pictures < 2;
    this.kept.hidden = cards.length === 0;
    setText(this.savedNote, this.model.get("saved"));
  }

  showCell() {
    const text = this.model.get("cell");
    this.cell.firstChild.textContent = text;
    this.cell.hidden = this.copy.hidden = text === "";
    setText(this.cellNote, this.model.get("cell_note"));
  }

  showPlace() {
    setText(this.place, this.model.get("place"));
    setText(this.spent, this.model.get("spent"));
  }

  /** Everything at once, and what follows each change. Returns what undoes it. */
  start() {
    const { model, store } = this;
    const follow = [
      ["jobs", () => (this.answered(), this.showJobs())],
      ["cards", () => this.showGallery()],
      ["saved", () => this.showGallery()],
      ["models", () => (this.form.showModels(), this.showEstimate())],
      ["models_note", () => this.form.showModels()],
      ["asking", () => this.form.showModels()],
      ["cell", () => this.showCell()],
      ["cell_note", () => this.showCell()],
      ["place", () => this.showPlace()],
      ["spent", () => this.showPlace()],
      ["trouble", () => (this.answered(), this.complain(model.get("trouble")))],
      ["said", () => (this.answered(), this.announce(model.get("said").text))],
    ];
    for (const [name, listener] of follow) model.on(`change:${name}`, listener);
    const pictured = () => (this.form.showInputs(), this.showGallery());
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
    for (const kind of ["picture", "input"]) store.addEventListener(kind, pictured);
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
      for (const kind of ["picture", "input"]) store.removeEventListener(kind, pictured);
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

export default () => {
  let store;
  return {
    initialize({ model }) {
      store = new Store(model);
    },
    render({ model, el }) {
      const view = new View(model, store);
      el.append(view.element);
      return view.start();
    },
  };
};
