// The panel's view: composes its parts and updates them when the kernel's state changes.

import { activeElement, button, h, link, setText } from "../shared/elements.js";
import { GONE, listen, SILENT } from "../shared/kernel.js";
import { Viewer } from "../shared/viewer.js";
import { CellBox } from "./cellbox.js";
import { acceptDrops } from "./drop.js";
import { Form } from "./form.js";
import { Gallery } from "./gallery.js";
import { ended, Queue } from "./queue.js";
import { sourceOf } from "./source.js";

/**
 * @typedef {import("../messages.js").Card} Card
 * @typedef {import("../messages.js").FormValues} FormValues
 * @typedef {import("../messages.js").Input} Input
 */

const DEBOUNCE = 150; // milliseconds from a keystroke to the update of the cell
const PATIENCE = 2000; // milliseconds without an answer before the user is told
const JOB_HINT = "A job at the server makes the images. It continues without this kernel.";

const MAX_NAME = 60; // characters of a prompt in the name of an input

/**
 * The name of a card as an input image: its prompt, and its number in its generation.
 * @param {Card} card
 */
function nameOf({ asked, name }) {
  const words = asked.length > MAX_NAME ? `${asked.slice(0, MAX_NAME - 1).trimEnd()}…` : asked;
  return name === "image" ? words : `${words} (${name})`;
}

export class View {
  /** Keys of the cards chosen for a comparison. @type {string[]} */
  #compared = [];
  /** A sentence that is shown instead of the estimate. */
  #note = "";
  /** The kernel has restarted or ended. */
  #gone = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #formTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #patienceTimer;

  /**
   * @param {import("../messages.js").PanelModel} model
   * @param {import("./store.js").Store} store
   */
  constructor(model, store) {
    this.model = model;
    this.store = store;
    this.form = new Form(model, store, {
      onchange: () => this.#formChanged(),
      generate: () => this.generate(),
    });
    this.visitors = model.get("visitors");
    this.gallery = this.#makeGallery();
    this.cells = model.get("cells");
    this.viewer = new Viewer(
      sourceOf(store, this.gallery, {
        ...(this.visitors ? {} : { save: (/** @type {Card} */ card) => this.#save(card) }),
        edit: (card) => this.form.editCard(card.id, nameOf(card)),
        closed: () => this.#choose([]),
      }),
      this.cells,
    );
    this.destination = h("span", { class: "xai-chip" });
    this.button = button("Generate", () => this.generate(), { class: "xai-primary" });
    this.submitJob = button("Submit as a job", () => this.generate("submit"), {
      class: "",
      title: JOB_HINT,
    });
    this.estimate = h("span", { class: "xai-quiet" });
    this.spent = h("span", { class: "xai-quiet xai-end" });
    this.fillNote = h("div", { class: "xai-row xai-filled", hidden: true });
    this.alert = h("p", { class: "xai-alert", role: "alert", hidden: true });
    this.queue = new Queue(
      (kind, id) => store.send({ kind, id }),
      () => this.button.focus(),
    );
    this.cellBox = new CellBox(model, (text, visibly) => this.announce(text, visibly));
    this.saveAll = button("Save all", () => this.#saveAll());
    this.savedNote = h("span", { class: "xai-quiet" });
    this.compareHint = h(
      "p",
      { class: "xai-comparing" },
      "Choose the picture to compare with. ",
      link("Stop comparing", () => this.#choose([])),
    );
    this.galleryHead = this.#makeGalleryHead();
    this.older = h("span");
    this.outputsNote = this.#makeOutputsNote();
    this.status = h("div", { class: "xai-unseen", role: "status" });
    this.element = this.#layOut();
    this.element.addEventListener("keydown", (event) => this.#passSave(event));
    this.element.addEventListener("keydown", (event) => this.#stopComparing(event));
    this.#takeDrops();
  }

  #layOut() {
    const title = h("h2", { class: "xai-title" }, "xAI images");
    const { visitors } = this;
    const buttons = visitors ? [this.button] : [this.button, this.submitJob];
    return h(
      "section",
      { class: "xai-widget xai-frame xai-panel", "aria-label": "xAI image panel" },
      h("header", { class: "xai-row xai-between" }, title, this.destination),
      this.form.element,
      this.fillNote,
      h("div", { class: "xai-row xai-bar" }, buttons, this.estimate, this.spent),
      this.alert,
      this.queue.element,
      visitors ? [] : this.cellBox.element,
      this.galleryHead,
      this.gallery.element,
      visitors ? [] : this.outputsNote,
      this.status,
      this.viewer.element,
    );
  }

  #makeGallery() {
    const { store, form } = this;
    /** @type {Partial<import("./gallery.js").Actions>} */
    const writes = {
      save: (card) => this.#save(card),
      star: ({ picture, starred }) => store.send({ kind: "star", ids: [picture], value: !starred }),
    };
    return new Gallery(store, {
      ...(this.visitors ? {} : writes),
      edit: (card) => form.editCard(card.id, nameOf(card)),
      reference: (card) => form.addCard(card.id, nameOf(card)),
      use: ({ id }) => store.send({ kind: "use", id }),
      words: ({ id }) => store.send({ kind: "use", id, words: true }),
      more: ({ id }) => store.send({ kind: "more", id }),
      full: (card) => (this.#compared.length ? this.#compare(card) : this.viewer.open(card.id)),
      compare: (card) => this.#compare(card),
    });
  }

  #makeGalleryHead() {
    const { size } = this.gallery;
    return h(
      "div",
      { class: "xai-row xai-galleryhead" },
      h("h3", { class: "xai-title" }, "Pictures"),
      this.saveAll,
      this.savedNote,
      h(
        "span",
        { class: "xai-row xai-end" },
        h("label", { class: "xai-quiet", for: size.id }, "Size"),
        size,
      ),
    );
  }

  #makeOutputsNote() {
    if (!this.cells)
      return h(
        "p",
        { class: "xai-quiet xai-kept" },
        "The pictures are in the library.",
        this.older,
      );
    const turn = link(
      "Show them",
      () => {
        const shown = this.element.classList.toggle("xai-show-outputs");
        turn.setAttribute("aria-pressed", String(shown));
        turn.textContent = shown ? "Hide them" : "Show them";
      },
      { "aria-pressed": "false" },
    );
    return h(
      "p",
      { class: "xai-quiet xai-kept" },
      "The pictures are also outputs of this cell, so they are saved with the notebook. ",
      turn,
      this.older,
    );
  }

  #takeDrops() {
    const { form, gallery } = this;
    acceptDrops(this.element, {
      over: (on) => form.inputs.classList.toggle("xai-over", on),
      card: (id) => {
        const card = gallery.cards.get(id);
        if (card) form.addCard(card.id, nameOf(card));
        return card !== undefined;
      },
      files: (files, target) =>
        form.addFiles(files, target !== undefined && !form.inputs.contains(target)),
    });
  }

  // From the user

  #formChanged() {
    clearTimeout(this.#formTimer);
    const sendForm = () => this.store.send({ kind: "form", form: this.form.values });
    this.#formTimer = setTimeout(sendForm, DEBOUNCE);
    if (!this.#gone) this.showAlert("");
    this.#showEstimate();
  }

  /** @param {"generate" | "submit"} [kind] */
  generate(kind = "generate") {
    if (this.button.disabled) return;
    if (!this.form.values.prompt.trim()) {
      this.showAlert("There is no prompt. Write what the image should show.");
      this.form.focusPrompt();
      return;
    }
    clearTimeout(this.#formTimer);
    this.showAlert("");
    this.fillNote.hidden = true;
    this.button.disabled = this.submitJob.disabled = true;
    if (!this.store.send({ kind, form: this.form.values })) return;
    this.#patienceTimer = setTimeout(() => {
      this.announce("The kernel has not answered yet. It may be busy.", true);
    }, PATIENCE);
  }

  /** The kernel has accepted or refused a generation. */
  #answered() {
    clearTimeout(this.#patienceTimer);
    this.#note = "";
    this.button.disabled = this.submitJob.disabled = false;
    this.#showEstimate();
  }

  /** @param {Card} card */
  #save({ id }) {
    this.store.send({ kind: "save", ids: [id] });
  }

  #saveAll() {
    const cards = this.model.get("cards").filter((card) => card.ok);
    this.store.send({ kind: "save", ids: cards.map((card) => card.id) });
  }

  /** @param {Card} card */
  #compare({ id }) {
    const others = this.#compared.filter((other) => other !== id);
    if (others.length === this.#compared.length) others.push(id);
    this.#choose(others);
    if (others.length === 2) this.viewer.open(...others);
    else this.announce(others.length ? "Choose the picture to compare with." : "Not compared.");
  }

  /**
   * While the second picture of a comparison is chosen, Escape cancels the choice and stays in the cell.
   * @param {KeyboardEvent} event
   */
  #stopComparing(event) {
    if (event.key !== "Escape" || this.#compared.length !== 1) return;
    event.preventDefault();
    event.stopPropagation();
    this.#choose([]);
  }

  /** @param {string[]} ids */
  #choose(ids) {
    const active = activeElement(this.element);
    const card = active?.closest(".xai-card");
    this.#compared = ids;
    this.gallery.mark(ids, this.compareHint);
    // The focused button may be hidden now: focus the next useful button.
    if (card && !active?.checkVisibility()) {
      const next = card.querySelector(ids.length ? ".xai-comparing button" : ".xai-dots");
      if (next instanceof HTMLElement) next.focus();
    }
  }

  /**
   * Fill the form with a request, and offer to undo it.
   * @param {{ form: Partial<FormValues>, note: string, upload?: string }} message
   */
  #fill({ form, note, upload }) {
    const before = structuredClone(this.form.values);
    before.inputs = before.inputs.filter(({ id }) => id !== upload);
    const back = (/** @type {Input[]} */ inputs) => {
      this.form.fill({ ...before, inputs });
      this.fillNote.hidden = true;
      this.form.focusPrompt();
    };
    const file = upload && this.form.values.inputs.find(({ id }) => id === upload);
    const buttons = [link("Undo", () => back(before.inputs))];
    if (file) buttons.push(link("Edit the picture instead", () => back([...before.inputs, file])));
    this.#notify(note, buttons);
    this.form.fill(form);
    this.form.focusPrompt();
  }

  /**
   * Pass Ctrl+S to the notebook, whose shortcuts are off in the panel's controls.
   * @param {KeyboardEvent} event
   */
  #passSave(event) {
    if (event.key.toLowerCase() !== "s" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    const { key, code, keyCode, ctrlKey, metaKey, shiftKey } = event;
    const copy = {
      key,
      code,
      keyCode,
      ctrlKey,
      metaKey,
      shiftKey,
      bubbles: true,
      composed: true, // out of a shadow tree
      cancelable: true,
    };
    this.element.parentElement?.dispatchEvent(new KeyboardEvent("keydown", copy));
  }

  // To the user

  /** @param {string} text */
  announce(text, visibly = false) {
    this.status.textContent = text;
    this.viewer.say(text);
    if (visibly) {
      this.#note = text;
      this.#showEstimate();
    }
  }

  /**
   * Show a sentence below the form until the next generation; an empty note hides it.
   * @param {string} note
   * @param {HTMLElement[]} [buttons]  buttons beside it
   */
  #notify(note, buttons = []) {
    this.fillNote.replaceChildren(h("span", { role: "status" }, note), ...buttons);
    this.fillNote.hidden = !note;
  }

  /** @param {string} text */
  showAlert(text) {
    setText(this.alert, text);
    this.cellBox.show(text);
  }

  #showEstimate() {
    this.estimate.textContent = this.#note || this.form.estimate(this.model.get("expected"));
  }

  /** The generations; without a kernel, all have ended. */
  get #jobs() {
    const jobs = this.model.get("jobs");
    return this.#gone ? jobs.map(ended) : jobs;
  }

  #showJobs() {
    const busy = this.queue.show(this.#jobs);
    this.button.textContent = busy ? "Add to the queue" : "Generate";
    this.#showGallery();
  }

  #showGallery() {
    const cards = this.model.get("cards");
    const jobs = this.#jobs;
    this.gallery.show(cards, jobs);
    this.gallery.mark(this.#compared, this.compareHint);
    const earlier = this.model.get("earlier");
    const older = earlier === 1 ? "1 older picture is" : `${earlier} older pictures are`;
    const library = this.cells ? "%xai_library" : "xai.library()";
    setText(this.older, earlier ? ` ${older} in the library; see ${library}.` : "");
    this.saveAll.hidden = this.visitors || cards.filter((card) => card.ok).length < 2;
    this.outputsNote.hidden = cards.length === 0;
    this.galleryHead.hidden =
      this.outputsNote.hidden && !jobs.some(({ state }) => state === "running");
    setText(this.savedNote, this.model.get("saved"));
  }

  #showStatus() {
    setText(this.destination, this.model.get("destination"));
    setText(this.spent, this.model.get("spent"));
  }

  #showModels() {
    this.form.showModels();
    this.#showEstimate();
  }

  /** Show everything, and follow changes; returns a function that stops following. */
  start() {
    const { model, store } = this;
    const answered = (/** @type {() => void} */ show) => () => {
      this.#answered();
      show();
    };
    /** @type {Record<string, () => void>} */
    const shows = {
      jobs: answered(() => this.#showJobs()),
      cards: () => this.#showGallery(),
      saved: () => this.#showGallery(),
      models: () => this.#showModels(),
      models_note: () => this.#showModels(),
      asking: () => this.#showModels(),
      cell: () => this.cellBox.show(this.alert.textContent ?? ""),
      cell_note: () => this.cellBox.show(this.alert.textContent ?? ""),
      destination: () => this.#showStatus(),
      expected: () => this.#showEstimate(),
      spent: () => this.#showStatus(),
      notice: () => this.#notify(model.get("notice")),
      trouble: answered(() => this.showAlert(model.get("trouble"))),
    };
    const said = answered(() => this.announce(model.get("said").text));
    const listeners = { ...shows, said };
    for (const [name, listener] of Object.entries(listeners)) model.on(`change:${name}`, listener);
    const stop = this.#listen();
    for (const show of Object.values(shows)) show();
    store.previews(this.form.values.inputs.map((input) => input.id));
    store.checkAlive();
    return () => {
      for (const [name, listener] of Object.entries(listeners))
        model.off(`change:${name}`, listener);
      stop();
      clearTimeout(this.#formTimer);
      clearTimeout(this.#patienceTimer);
    };
  }

  #listen() {
    return listen(this.store, {
      preview: () => {
        this.form.showInputs();
        this.#showGallery();
      },
      input: ({ detail }) => this.form.answered(detail),
      fill: ({ detail }) => this.#fill(detail),
      take: ({ detail }) => this.form.editCard(detail.id, "a picture from the library"),
      changed: ({ detail }) => this.viewer.changed(detail.rows),
      ready: () => {
        this.element.classList.add("xai-alive"); // hides the outputs below, which show the same pictures
        this.#gone = false;
        this.showAlert(this.model.get("trouble"));
        this.#showJobs();
      },
      gone: () => {
        this.#gone = true;
        this.#answered();
        this.showAlert(GONE);
        this.#showJobs();
      },
      silent: () => this.showAlert(SILENT),
    });
  }
}
