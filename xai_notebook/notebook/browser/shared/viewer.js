// A modal dialog with one picture in full, or with two pictures that a slider compares.

import { about, lineageOf } from "./about.js";
import { activeElement, h, setText, unique } from "./elements.js";
import { Stage } from "./stage.js";
import { Tools } from "./tools.js";

/**
 * @typedef {import("../messages.js").Picture} Picture
 * @typedef {Partial<Picture> & { prompt: string, url?: string }} Glance  what is known without asking the kernel
 *
 * Where the viewer gets pictures, by a key of any type, and the actions on a picture. The viewer does
 * not offer missing actions. The keys of sources and edits are their ids in the library.
 * @typedef {object} Source
 * @property {(key: any) => Glance | undefined} glance
 * @property {(key: any) => Promise<Picture & { url: string }>} load  the viewer revokes the URL
 * @property {(key: any, by: number) => unknown} next  the key of the picture `by` positions further, or a promise of the key; undefined past the end
 * @property {(key: any) => string} [position]  such as "3 of 24"
 * @property {(id: number) => Promise<string>} [thumbnail]  its URL
 * @property {(key: any) => unknown} [save]
 * @property {(key: any) => unknown} [edit]
 * @property {(id: number, value: boolean) => unknown} [star]
 * @property {(id: number, tag: string, value: boolean) => unknown} [tag]
 * @property {() => unknown} [closed]
 */

/** @type {Record<string, number>} */
const STEPS = { ArrowLeft: -1, ArrowRight: 1, PageUp: -1, PageDown: 1 };

export class Viewer {
  /** Keys of the one or two pictures shown. @type {any[]} */
  keys = [];
  /** The picture that is shown without another, once loaded. @type {Picture | undefined} */
  shown;
  /** Key of the picture whose comparison with its parent is shown. @type {any} */
  #comparedKey;
  /** Keys of the pictures on the stage. @type {any[]} */
  #staged = [];
  /** @type {string[]} */
  #urls = [];
  /** Settles when the shown pictures are loaded. */
  #loading = Promise.resolve();

  /**
   * @param {Source} source
   * @param {boolean} [cells]  pictures are made by cells with a magic, not by calls in Python
   */
  constructor(source, cells = true) {
    this.source = source;
    this.cells = cells;
    const handlers = {
      step: (/** @type {number} */ by) => this.step(by),
      press: (/** @type {string} */ key) => this.press(key),
      turn: () => this.turn(),
      close: () => this.element.close(),
    };
    this.tools = new Tools(handlers, source);
    this.stage = new Stage((percent) => setText(this.tools.percent, `${percent} %`));
    this.title = h("h2", { class: "xai-title", id: unique("title") });
    this.note = h("p", { class: "xai-hint", role: "status", hidden: true });
    this.about = h("div", { class: "xai-about" });
    const properties = {
      class: "xai-strip",
      role: "list",
      "aria-label": "Sources and edits",
      hidden: true,
    };
    this.strip = h("ul", properties);
    const { before, after, zooms, acts, close } = this.tools;
    const steps = h("div", { class: "xai-row xai-steps" }, before, this.title, after);
    const { element, slider } = this.stage;
    const look = h("div", { class: "xai-look" }, element, slider, this.note, this.strip);
    /** @type {HTMLDialogElement} */
    this.element = h(
      "dialog",
      { class: "xai-widget xai-viewer", "aria-labelledby": this.title.id },
      h("div", { class: "xai-viewerhead" }, steps, zooms, acts, close),
      h("div", { class: "xai-sheets" }, look, this.about),
    );
    this.element.addEventListener("keydown", (event) => this.#key(event));
    this.element.addEventListener("close", () => this.#clear());
    this.element.addEventListener("click", ({ target }) => {
      if (target === this.element) this.element.close();
    });
  }

  // Pictures

  /**
   * Show a picture; with a second one, both, and a slider between them.
   * @param {any[]} keys
   */
  async open(...keys) {
    this.keys = keys;
    this.shown = undefined;
    this.#comparedKey = undefined;
    await this.#show(keys);
  }

  /** Switch between a picture and its comparison with its parent. */
  async turn() {
    if (this.#comparedKey !== undefined) return this.open(this.#comparedKey);
    const parent = this.shown?.lineage.ancestors.at(-1);
    if (parent === undefined) return undefined;
    [this.#comparedKey] = this.keys;
    this.keys = [parent, this.#comparedKey];
    this.shown = undefined;
    return this.#show(this.keys);
  }

  /** @param {any[]} keys */
  async #show(keys) {
    const two = keys.length > 1;
    const { source } = this;
    const position = two ? "" : (source.position?.(keys[0]) ?? "");
    this.title.textContent = two ? "Compare" : `Picture ${position}`.trim();
    this.tools.show(two, this.#comparedKey !== undefined);
    this.element.classList.toggle("xai-two", two);
    this.#draw(keys.map((key) => source.glance(key)));
    this.#focus(two);
    setText(this.note, "Loading the original …");
    this.#loading = this.#load(keys);
    await this.#loading;
  }

  /**
   * Move the focus into the dialog; a visible focused button keeps the focus.
   * @param {boolean} two
   */
  #focus(two) {
    const opened = this.element.open;
    if (!opened) this.element.showModal();
    const here = activeElement(this.element);
    const stays = opened && this.element.contains(here) && here?.getClientRects().length;
    if (two) this.stage.slider.focus();
    else if (!stays) this.stage.element.focus();
  }

  /** @param {any[]} keys */
  async #load(keys) {
    try {
      const pictures = await Promise.all(keys.map((key) => this.source.load(key)));
      if (this.keys === keys) this.#showOriginals(pictures);
      else for (const { url } of pictures) URL.revokeObjectURL(url);
    } catch (error) {
      const { message } = /** @type {Error} */ (error);
      const seen = this.stage.images.some((image) => image.src);
      if (this.keys === keys) setText(this.note, seen ? `This is a preview. ${message}` : message);
    }
  }

  /** @param {(Picture & { url: string })[]} pictures */
  #showOriginals(pictures) {
    const old = this.#urls;
    this.#urls = pictures.map(({ url }) => url);
    const errors = pictures.map(({ error }) => error).filter(Boolean);
    setText(this.note, errors.join(" "));
    this.shown = pictures.length === 1 ? pictures[0] : undefined;
    this.#draw(pictures);
    for (const url of old) URL.revokeObjectURL(url);
  }

  /**
   * Draw pictures. When the originals replace the previews, elements and zoom stay.
   * @param {(Glance | undefined)[]} pictures
   */
  #draw(pictures) {
    const staged = this.#staged === this.keys;
    this.#staged = this.keys;
    const fresh = () => pictures.map(() => h("img", { alt: "", draggable: "false" }));
    const images = staged ? this.stage.images : fresh();
    for (const [index, picture] of pictures.entries()) {
      const image = images[index];
      if (!image || !picture) continue;
      image.alt = picture.alt ?? "";
      if (picture.url) image.src = picture.url;
    }
    const size = pictures[0]?.size;
    if (!staged || (size?.length && size[0] !== this.stage.picture.width))
      this.stage.show(images, size);
    this.#describe(pictures);
  }

  /** @param {(Glance | undefined)[]} pictures */
  #describe(pictures) {
    const { tag, thumbnail } = this.source;
    const { shown } = this;
    const id = shown?.id ?? null;
    const change = tag && id !== null ? tag.bind(null, id) : undefined;
    const say = (/** @type {string} */ text) => this.say(text);
    const sides = pictures.length > 1 ? ["Left", "Right"] : [];
    const texts = pictures.map((picture, index) => {
      const side = sides[index];
      return picture ? about(picture, { say, side, tag: change, cells: this.cells }) : [];
    });
    this.about.replaceChildren(...texts.flat());
    const show = (/** @type {number} */ id) => this.open(id);
    const lineage = shown && thumbnail ? lineageOf(shown, { show, thumbnail }) : [];
    this.strip.replaceChildren(...lineage);
    this.strip.hidden = lineage.length === 0;
    if (shown) this.tools.update(shown);
  }

  /**
   * Update star and tags after a change, here or elsewhere.
   * @param {{ id: number, starred: boolean, tags: string[] }[]} rows
   */
  changed(rows) {
    const row = this.shown && rows.find(({ id }) => id === this.shown?.id);
    if (!row || !this.shown) return;
    const tagging = this.about.contains(activeElement(this.about));
    this.shown = { ...this.shown, starred: row.starred, tags: row.tags };
    this.#describe([this.shown]);
    if (tagging) this.about.querySelector("input")?.focus();
  }

  /** @param {string} text */
  say(text) {
    if (this.element.open) setText(this.note, text);
  }

  #clear() {
    this.keys = [];
    this.shown = this.#comparedKey = undefined;
    this.stage.show([]);
    this.about.replaceChildren();
    this.strip.replaceChildren();
    for (const url of this.#urls) URL.revokeObjectURL(url);
    this.#urls = [];
    this.source.closed?.();
  }

  // From the user

  /** @param {number} by */
  async step(by) {
    if (this.keys.length !== 1) return;
    const key = await this.source.next(this.keys[0], by);
    if (key !== undefined) await this.open(key);
  }

  /**
   * Handle a key; returns whether the key has a meaning here.
   * @param {string} key
   */
  press(key) {
    const by = STEPS[key];
    if (this.stage.key(key)) return true;
    if (by !== undefined) this.step(by);
    else if (key === "b") this.turn();
    else return this.#act(key);
    return true;
  }

  /** @param {string} key */
  #act(key) {
    const { source } = this;
    const [picture] = this.keys;
    if (this.keys.length !== 1) return false;
    if (key === "*" && source.star) this.#star();
    else if (key === "s" && source.save) source.save(picture);
    else if (key === "e" && source.edit) {
      this.element.close();
      source.edit(picture);
    } else return false;
    return true;
  }

  /** Toggle the star, once the picture is loaded. */
  async #star() {
    const { keys } = this;
    await this.#loading;
    const { shown } = this;
    if (this.keys === keys && shown && shown.id !== null)
      this.source.star?.(shown.id, !shown.starred);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.key === "Escape") event.stopPropagation(); // otherwise the cell takes the focus
    const { target, key } = event;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (/** @type {HTMLElement} */ (target).closest("input, pre")) return;
    if (!this.press(key.length === 1 ? key.toLowerCase() : key)) return;
    event.preventDefault();
    event.stopPropagation();
  }
}
