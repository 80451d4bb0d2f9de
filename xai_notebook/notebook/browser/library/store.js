// The rows of a library by position, fetched in pages, and its thumbnails. Both are bounded:
// 100,000 pictures take no more memory than a few screens.

import { Kernel } from "../shared/kernel.js";

/** @typedef {import("../messages.js").Row} Row */

const PAGE = 100; // rows in one request
const FIRST_THUMBNAILS = 36; // thumbnails in the first result
const MAX_PAGES = 30;

export class LibraryStore extends Kernel {
  count = 0;
  #generation = 0; // number of the query; replies to earlier queries are dropped
  /** Least recently used first. @type {Map<number, Row[]>} */
  pages = new Map();
  /** @type {Map<number, Promise<Row[]>>} */
  #pending = new Map();

  /** @param {import("../shared/kernel.js").Messages} model */
  constructor(model) {
    super(model);
    this.addEventListener("changed", (event) => this.#change(/** @type {CustomEvent} */ (event)));
    this.addEventListener("glance", (event) => this.#glance(/** @type {CustomEvent} */ (event)));
  }

  /**
   * Send a query; the event "result" informs all views, which share the list.
   * @param {string} words
   * @param {string} order
   * @param {Record<string, unknown>} filters
   * @param {boolean} [keep]  passed on: the same query is repeated
   * @returns {Promise<import("../messages.js").Result | null>} null: another query has been sent
   */
  async query(words, order, filters, keep = false) {
    this.#generation += 1;
    const generation = this.#generation;
    const first = { rows: PAGE, thumbnails: generation === 1 ? FIRST_THUMBNAILS : 0 };
    const result = await this.ask({ kind: "query", words, order, filters, ...first });
    if (generation !== this.#generation) return null;
    this.pages.clear();
    this.#pending.clear();
    this.count = result.count;
    this.#storePage(0, result.rows);
    this.keep(result);
    this.dispatchEvent(new CustomEvent("result", { detail: { result, keep } }));
    return result;
  }

  /**
   * The row at a position, if it is loaded.
   * @param {number} position
   */
  loadedRow(position) {
    return this.pages.get(Math.floor(position / PAGE))?.[position % PAGE];
  }

  /**
   * The row at a position, if it is loaded; else it is requested, and the event "rows" announces it.
   * @param {number} position
   */
  row(position) {
    const page = Math.floor(position / PAGE);
    const rows = this.pages.get(page);
    if (rows === undefined) {
      this.#fetchPage(page).catch(() => {});
      return undefined;
    }
    this.pages.delete(page);
    this.pages.set(page, rows);
    return rows[position % PAGE];
  }

  /**
   * A loaded row, by its id.
   * @param {number} id
   */
  loadedRowOf(id) {
    for (const rows of this.pages.values()) {
      const found = rows.find((row) => row.id === id);
      if (found) return found;
    }
    return undefined;
  }

  /**
   * The rows of a page, in one request for all callers.
   * @param {number} page
   */
  #fetchPage(page) {
    const pending = this.#pending.get(page);
    if (pending) return pending;
    const request = this.#readPage(page);
    this.#pending.set(page, request);
    const done = () => this.#pending.get(page) === request && this.#pending.delete(page);
    request.then(done, done);
    return request;
  }

  /**
   * @param {number} page
   * @returns {Promise<Row[]>}
   */
  async #readPage(page) {
    const generation = this.#generation;
    const { rows } = await this.ask({ kind: "rows", start: page * PAGE, stop: (page + 1) * PAGE });
    if (generation !== this.#generation) return [];
    this.#storePage(page, rows);
    this.dispatchEvent(new CustomEvent("rows"));
    return rows;
  }

  /**
   * @param {number} page
   * @param {Row[]} rows
   */
  #storePage(page, rows) {
    this.pages.set(page, rows);
    for (const oldest of this.pages.keys()) {
      if (this.pages.size <= MAX_PAGES) break;
      this.pages.delete(oldest);
    }
  }

  /**
   * The ids from one position to another, inclusive; the kernel limits their number.
   * @param {number} first
   * @param {number} last
   * @returns {Promise<number[]>}
   */
  async range(first, last) {
    const row = this.pages.get(Math.floor(first / PAGE))?.[first % PAGE];
    if (first === last && row) return [row.id];
    const { ids } = await this.ask({ kind: "ids", start: first, stop: last + 1 });
    return ids;
  }

  /**
   * Store the first rows, which come before the total is known.
   * @param {CustomEvent<import("../messages.js").Screenful>} event
   */
  #glance({ detail }) {
    if (this.count || this.#generation > 1) return;
    this.count = detail.rows.length;
    this.#storePage(0, detail.rows);
    this.keep(detail);
  }

  /** @param {CustomEvent<{ rows: Row[] }>} event */
  #change({ detail: { rows } }) {
    const changed = new Map(rows.map((row) => [row.id, row]));
    for (const page of this.pages.values())
      for (const [index, row] of page.entries()) page[index] = changed.get(row.id) ?? row;
  }
}
