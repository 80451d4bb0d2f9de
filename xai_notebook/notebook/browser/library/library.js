// The library's view: search, grid, viewer and actions.

import { h, setText } from "../shared/elements.js";
import { GONE, listen, SILENT } from "../shared/kernel.js";
import { Viewer } from "../shared/viewer.js";
import { counted, sizeOf } from "../shared/words.js";
import { Actions } from "./actions.js";
import { Grid } from "./grid.js";
import { Search } from "./search.js";

const COLLECT = 120; // milliseconds in which changes gather before the query is repeated

const KEYS = "Enter opens, Space selects, Shift and arrows extend the selection";
const WRITES = "* stars, S exports, Delete deletes";

export class LibraryView {
  /** @type {number[]} */
  chosen = [];
  /** Ids of the last deletion. @type {number[]} */
  #deleted = [];
  #viewerPosition = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #queryTimer;

  /**
   * @param {import("../messages.js").LibraryModel} model
   * @param {import("./store.js").LibraryStore} store
   */
  constructor(model, store) {
    this.store = store;
    this.visitors = model.get("visitors");
    this.grid = new Grid(store, {
      open: (position) => this.open(position),
      chosen: (ids) => this.choose(ids),
      act: (name) => this.visitors || this.#actOnSelection(name),
    });
    this.cells = model.get("cells");
    this.viewer = new Viewer(this.#source(), this.cells);
    this.search = new Search(model, () => this.query());
    this.actions = new Actions({
      act: (name, more) => this.#actOnSelection(name, more),
      open: () => this.viewer.open(this.chosen[0]),
      compare: () => this.viewer.open(...this.chosen),
      undo: () => this.#undoDelete(),
      writes: !this.visitors,
      variables: this.cells,
    });
    this.total = h("span", { class: "xai-chip", role: "status" });
    this.notice = h("p", { class: "xai-quiet", role: "status", hidden: true });
    this.alert = h("p", { class: "xai-alert", role: "alert", hidden: true });
    this.empty = h("p", { class: "xai-quiet xai-nothing", hidden: true });
    this.element = h(
      "section",
      { class: "xai-widget xai-frame xai-library", "aria-label": "xAI image library" },
      h(
        "header",
        { class: "xai-row xai-between" },
        h("h2", { class: "xai-title" }, "Your pictures"),
        this.total,
      ),
      this.notice,
      this.search.element,
      this.alert,
      this.actions.element,
      this.grid.element,
      this.empty,
      h("p", { class: "xai-quiet xai-keys" }, `${this.visitors ? KEYS : `${KEYS}, ${WRITES}`}.`),
      this.viewer.element,
    );
  }

  /** @returns {import("../shared/viewer.js").Source} */
  #source() {
    const { store } = this;
    return {
      glance: (id) => {
        const row = store.loadedRowOf(id);
        return row && { ...row, url: store.thumbnails.get(id) };
      },
      load: (id) => store.picture({ id }),
      next: (_, by) => this.walk(by),
      position: (id) => this.#positionOf(id),
      thumbnail: async (id) => {
        await store.need([id]);
        return store.thumbnails.get(id) ?? "";
      },
      edit: (id) => this.act("edit", [id]),
      ...(this.visitors ? {} : this.#writes()),
      closed: () => this.grid.element.focus({ preventScroll: true }),
    };
  }

  /** @returns {Partial<import("../shared/viewer.js").Source>} */
  #writes() {
    return {
      save: (id) => this.act("export", [id]),
      star: (id, value) => this.act("star", [id], { value }),
      tag: (id, tag, value) => this.act("tag", [id], { tag, value }),
    };
  }

  /** @param {number} id */
  #positionOf(id) {
    const isCurrent = this.store.row(this.#viewerPosition)?.id === id;
    return isCurrent ? `${counted(this.#viewerPosition + 1)} of ${counted(this.store.count)}` : "";
  }

  start() {
    const { store } = this;
    const showAlert = (/** @type {string} */ text) => () => setText(this.alert, text);
    const stops = [
      this.grid.start(),
      listen(store, {
        glance: () => this.#glance(),
        result: ({ detail }) => this.#show(detail.result, detail.keep),
        changed: ({ detail }) => this.#applyChange(detail.rows),
        choices: ({ detail }) => this.search.updateChoices(detail),
        gone: showAlert(GONE),
        silent: showAlert(SILENT),
        ready: showAlert(""),
      }),
    ];
    store.checkAlive();
    this.query();
    return () => {
      for (const stop of stops) stop();
      this.search.stop();
      clearTimeout(this.#queryTimer);
    };
  }

  async query({ keep = false } = {}) {
    this.search.stop();
    const { words, order, filters } = this.search;
    try {
      await this.store.query(words.value, order.value, filters, keep);
    } catch (error) {
      setText(this.alert, /** @type {Error} */ (error).message);
    }
  }

  /** Show the first pictures, before the total is known. */
  #glance() {
    this.grid.element.hidden = this.store.count === 0;
    this.grid.reset();
  }

  /**
   * @param {import("../messages.js").Result} result
   * @param {boolean} keep
   */
  #show(result, keep) {
    setText(this.alert, "");
    setText(this.notice, result.notice);
    const noun = result.count === 1 ? "picture" : "pictures";
    const size = this.visitors ? "" : `, ${sizeOf(result.bytes)}`;
    this.total.textContent = `${counted(result.count)} ${noun}${size}`;
    const magic = this.visitors || !this.cells ? "" : "with %xai_image ";
    const emptyText = this.search.narrowed
      ? "No pictures match. Remove words or filters."
      : `No pictures yet. Pictures that you make ${magic}appear here.`;
    setText(this.empty, result.count ? "" : emptyText);
    this.grid.element.hidden = result.count === 0;
    this.grid.reset({ keep });
    this.#enable();
  }

  /**
   * Update after a change, here or elsewhere.
   * @param {import("../messages.js").Row[]} rows
   */
  #applyChange(rows) {
    this.viewer.changed(rows);
    this.grid.scheduleDraw();
    this.#enable();
    clearTimeout(this.#queryTimer);
    this.#queryTimer = setTimeout(() => this.query({ keep: true }), COLLECT);
  }

  /** @param {number[]} ids */
  choose(ids) {
    this.chosen = ids;
    this.store.send({ kind: "select", ids });
    this.#enable();
  }

  #enable() {
    const trash = this.search.status.value === "trash";
    this.actions.enable(this.chosen.length, { starred: this.#starred(this.chosen), trash });
  }

  /**
   * Whether all of these pictures have a star, as far as their rows are loaded.
   * @param {number[]} ids
   */
  #starred(ids) {
    return ids.length > 0 && ids.every((id) => this.store.loadedRowOf(id)?.starred);
  }

  /**
   * Apply an action to the selected pictures; the star is removed if all have one.
   * @param {string} name
   * @param {Record<string, unknown>} [more]
   */
  #actOnSelection(name, more = {}) {
    const ids = this.chosen;
    const value = name === "star" ? { value: !this.#starred(ids) } : {};
    if (ids.length) this.act(name, ids, { ...value, ...more });
  }

  /**
   * @param {string} name
   * @param {number[]} ids
   * @param {Record<string, unknown>} [more]
   */
  async act(name, ids, more = {}) {
    try {
      const { said } = await this.store.ask({ kind: name, ids, id: ids[0], ...more });
      this.#say(said);
      if (name === "delete" || name === "restore") {
        this.#deleted = name === "delete" ? ids : [];
        this.grid.select([]);
      }
      this.actions.undo.hidden = name !== "delete";
    } catch (error) {
      this.#say(/** @type {Error} */ (error).message);
    }
  }

  async #undoDelete() {
    await this.act("restore", this.#deleted);
    this.grid.element.focus();
  }

  /** @param {string} text */
  #say(text) {
    this.actions.message.textContent = text;
    this.viewer.say(text);
  }

  /** @param {number} position */
  async open(position) {
    const [id] = await this.store.range(position, position);
    if (id === undefined) return;
    this.#viewerPosition = position;
    this.viewer.open(id);
  }

  /**
   * Move the viewer by a number of pictures; returns the id of the new picture.
   * @param {number} by
   */
  async walk(by) {
    const position = this.#viewerPosition + by;
    if (position < 0 || position >= this.store.count) return undefined;
    const [id] = await this.store.range(position, position);
    if (id === undefined) return undefined;
    this.#viewerPosition = position;
    this.grid.go(position);
    return id;
  }
}
