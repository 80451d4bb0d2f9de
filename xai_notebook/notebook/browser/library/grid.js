// A virtual grid: only visible tiles are in the page. One tab stop; arrow keys move inside.

import { makeGridPicture, showGridPicture } from "../shared/card.js";
import { activeElement, h, part, unique } from "../shared/elements.js";
import { listen } from "../shared/kernel.js";
import { layOut, offsetOf, scrollTo, tilesInPage } from "./layout.js";
import { emptySelection, extended, positionAfterKey, toggled } from "./selection.js";

/**
 * @typedef {import("../messages.js").Row} Row
 * @typedef {{ open: (position: number) => void, chosen: (ids: number[]) => void,
 *   act: (name: string) => void }} Handlers
 */

/** Keys of actions on the selected pictures. @type {Record<string, string>} */
const ACTION_KEYS = { Delete: "delete", "*": "star", s: "export" };

export class Grid {
  selection = emptySelection();
  layout = layOut(0, 0);
  /** By position. @type {Map<number, HTMLElement>} */
  #tiles = new Map();
  #prefix = unique("tile");
  /** @type {number | undefined} */
  #frame;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #restTimer;
  #drawnAt = -1;

  /**
   * @param {import("./store.js").LibraryStore} store
   * @param {Handlers} handlers
   */
  constructor(store, handlers) {
    this.store = store;
    this.handlers = handlers;
    this.space = h("div", { class: "xai-space", role: "presentation" });
    this.element = h(
      "div",
      {
        class: "xai-shelf",
        role: "listbox",
        tabindex: 0,
        "aria-label": "Pictures",
        "aria-multiselectable": "true",
        "data-lm-suppress-shortcuts": "true",
        onscroll: () => this.scheduleDraw(),
        onkeydown: (event) => this.#key(event),
        onfocus: () => this.#mark(),
        onblur: () => this.#mark(),
        onclick: (event) => this.#click(event),
        ondblclick: (event) => {
          const position = this.#positionOf(event);
          if (position !== undefined) this.handlers.open(position);
        },
      },
      this.space,
    );
  }

  start() {
    const watch = new ResizeObserver(() => this.scheduleDraw());
    watch.observe(this.element);
    const stop = listen(this.store, {
      rows: () => this.scheduleDraw(),
      thumbnails: ({ detail }) => this.#showThumbnails(new Set(detail)),
    });
    return () => {
      stop();
      watch.disconnect();
      clearTimeout(this.#restTimer);
    };
  }

  scheduleDraw() {
    this.#frame ??= requestAnimationFrame(() => {
      this.#frame = undefined;
      this.draw();
    });
  }

  /** Show a new list. `keep`: the same query was repeated, so scroll position and tiles stay. */
  reset({ keep = false } = {}) {
    this.#drawnAt = -1;
    for (const [position, tile] of this.#tiles) {
      if (!keep && tile.dataset.id !== String(this.store.loadedRow(position)?.id))
        this.#blank(tile);
      this.#move(tile, position); // updates aria-setsize
    }
    if (!keep) this.element.scrollTop = 0;
    const last = Math.max(0, this.store.count - 1);
    const { current, anchor } = keep ? this.selection : { current: 0, anchor: 0 };
    this.selection = {
      ...this.selection,
      current: Math.min(current, last),
      anchor: Math.min(anchor, last),
    };
    this.draw();
  }

  draw() {
    const { clientWidth, clientHeight, scrollTop } = this.element;
    if (!clientWidth) return;
    this.#measure(clientWidth);
    const { first, last } = tilesInPage(this.layout, scrollTop, clientHeight, this.store.count);
    // Rows that scroll by quickly are not requested: the replies would come too late.
    const fast = Math.abs(first - this.#drawnAt) >= last - first && this.#drawnAt >= 0;
    this.#recycle(first, last);
    /** @type {number[]} */
    const ids = [];
    for (const [position, tile] of this.#tiles) {
      const row = fast ? this.store.loadedRow(position) : this.store.row(position);
      if (row) this.#fill(tile, row);
      if (row) ids.push(row.id);
    }
    this.#mark();
    clearTimeout(this.#restTimer);
    this.#restTimer = setTimeout(
      () => {
        if (fast) this.draw();
        else this.store.need(ids);
        this.store.trim(new Set(ids));
      },
      this.#drawnAt === first ? 0 : 60,
    );
    this.#drawnAt = first;
  }

  /** Update the layout for the width of the frame. @param {number} width */
  #measure(width) {
    const { count } = this.store;
    const layout = layOut(width, count);
    const { columns, side, height } = this.layout;
    if (layout.columns === columns && layout.side === side && layout.height === height) return;
    this.layout = layout;
    this.space.style.height = `${layout.height}px`;
    this.space.style.setProperty("--xai-side", `${layout.side}px`);
    this.element.style.height = `${layout.height + 2}px`; // the style sheet sets a maximum
    for (const [position, tile] of this.#tiles) this.#move(tile, position);
  }

  /**
   * Keep tiles for these positions only; tiles of other positions are reused.
   * @param {number} first
   * @param {number} last
   */
  #recycle(first, last) {
    const spare = [];
    for (const [position, tile] of this.#tiles) {
      if (position >= first && position < last) continue;
      this.#tiles.delete(position);
      spare.push(tile);
    }
    for (let position = first; position < last; position += 1) {
      if (this.#tiles.has(position)) continue;
      const tile = spare.pop() ?? this.space.appendChild(this.#make());
      this.#blank(tile);
      this.#move(tile, position);
      this.#tiles.set(position, tile);
    }
    for (const tile of spare) tile.remove();
  }

  #make() {
    return h(
      "div",
      { class: "xai-tile", role: "option", "aria-selected": "false" },
      makeGridPicture({ alt: "", size: [], starred: false }),
      h("span", { class: "xai-tilename", dir: "auto" }),
    );
  }

  /**
   * @param {HTMLElement} tile
   * @param {number} position
   */
  #move(tile, position) {
    const { left, top } = offsetOf(this.layout, position);
    tile.id = `${this.#prefix}-${position}`;
    tile.dataset.position = String(position);
    tile.style.transform = `translate(${left}px, ${top}px)`;
    tile.setAttribute("aria-setsize", String(this.store.count));
    tile.setAttribute("aria-posinset", String(position + 1));
  }

  /** Clear a tile. @param {HTMLElement} tile */
  #blank(tile) {
    if (tile.dataset.id === undefined) return;
    delete tile.dataset.id;
    tile.classList.remove("xai-pictured");
    showGridPicture(part(tile, ".xai-face"), {});
    part(tile, ".xai-tilename").textContent = "";
    tile.removeAttribute("aria-label");
    tile.removeAttribute("title");
  }

  /**
   * @param {HTMLElement} tile
   * @param {Row} row
   */
  #fill(tile, row) {
    const url = this.store.thumbnails.get(row.id);
    const words = row.prompt || (row.status === "gone" ? "This picture is gone." : "No prompt");
    const tags = row.tags.length ? `tags: ${row.tags.join(", ")}` : "";
    const facts = [words, ...row.facts, row.starred ? "starred" : "", tags].filter(Boolean);
    const label = facts.join("; ");
    showGridPicture(part(tile, ".xai-face"), row, url);
    tile.classList.toggle("xai-pictured", Boolean(url));
    if (tile.dataset.id === String(row.id) && tile.getAttribute("aria-label") === label) return;
    tile.dataset.id = String(row.id);
    part(tile, ".xai-tilename").textContent = words;
    tile.setAttribute("aria-label", label);
    tile.title = facts.join("\n");
  }

  /** @param {Set<number>} ids */
  #showThumbnails(ids) {
    for (const [position, tile] of this.#tiles) {
      const row = ids.has(Number(tile.dataset.id)) && this.store.row(position);
      if (row) this.#fill(tile, row);
    }
  }

  /** Mark the current tile and the selected tiles. */
  #mark() {
    const focused = activeElement(this.element) === this.element;
    const { current, ids } = this.selection;
    for (const [position, tile] of this.#tiles) {
      tile.classList.toggle("xai-current", focused && position === current);
      tile.setAttribute("aria-selected", String(ids.has(Number(tile.dataset.id))));
    }
    const tile = this.#tiles.get(current);
    if (tile) this.element.setAttribute("aria-activedescendant", tile.id);
    else this.element.removeAttribute("aria-activedescendant");
  }

  /** @param {MouseEvent} event */
  #positionOf({ target }) {
    const tile = /** @type {HTMLElement} */ (target).closest(".xai-tile");
    return tile instanceof HTMLElement ? Number(tile.dataset.position) : undefined;
  }

  /** @param {MouseEvent} event */
  async #click(event) {
    const position = this.#positionOf(event);
    if (position === undefined) return;
    this.element.focus({ preventScroll: true });
    const add = event.ctrlKey || event.metaKey;
    if (event.shiftKey) await this.#extend(position, add);
    else if (add) await this.#toggle(position);
    else await this.#choose(position);
  }

  /** @param {number} position */
  async #choose(position) {
    const ids = await this.store.range(position, position);
    this.#setSelection({ ids: new Set(ids), current: position, anchor: position });
  }

  /** @param {number} position */
  async #toggle(position) {
    this.#setSelection(
      toggled(this.selection, position, await this.store.range(position, position)),
    );
  }

  /**
   * @param {number} position
   * @param {boolean} [add]
   */
  async #extend(position, add) {
    const { anchor } = this.selection;
    this.go(position, anchor);
    const ids = await this.store.range(Math.min(anchor, position), Math.max(anchor, position));
    this.#setSelection(extended(this.selection, position, ids, add));
  }

  /** @param {import("./selection.js").Selection} selection */
  #setSelection(selection) {
    this.selection = selection;
    this.#mark();
    this.handlers.chosen([...selection.ids]);
  }

  /** @param {number[]} ids */
  select(ids) {
    this.#setSelection({ ...this.selection, ids: new Set(ids) });
  }

  /** Move the keyboard's position, and scroll to it. @param {number} position */
  go(position, anchor = position) {
    const { clientHeight, scrollTop } = this.element;
    const offset = scrollTo(this.layout, position, scrollTop, clientHeight);
    if (offset !== scrollTop) this.element.scrollTop = offset;
    this.selection = { ...this.selection, current: position, anchor };
  }

  /** @param {KeyboardEvent} event */
  async #key(event) {
    const { count } = this.store;
    if (!count) return;
    const { columns, step } = this.layout;
    const rows = Math.max(1, Math.floor(this.element.clientHeight / step));
    const { current } = this.selection;
    const position = positionAfterKey(event.key, current, { count, columns, rows });
    const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
    const act = plain && ACTION_KEYS[event.key];
    if (position !== undefined) {
      event.preventDefault();
      if (event.shiftKey) await this.#extend(position);
      else this.go(position);
      this.draw();
    } else if (event.key === "a" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      this.#setSelection(extended(this.selection, current, await this.store.range(0, count - 1)));
    } else if (event.key === " ") {
      event.preventDefault();
      await this.#toggle(current);
    } else if (event.key === "Enter" && plain && !event.shiftKey) {
      event.preventDefault();
      event.stopPropagation();
      this.handlers.open(current);
    } else if (event.key === "Escape") {
      event.stopPropagation(); // otherwise the cell takes the focus
      this.select([]);
    } else if (act) this.handlers.act(act);
  }
}
