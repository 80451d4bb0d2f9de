// A virtual grid: only visible tiles are in the page. One tab stop; arrow keys move inside.

import { makeFace, showFace } from "../shared/card.js";
import { h, part, unique } from "../shared/elements.js";
import { follow } from "../shared/kernel.js";
import { layOut, offsetOf, scrollTo, seen } from "./layout.js";
import { extended, led, nothing, toggled } from "./selection.js";

/**
 * @typedef {import("../messages.js").Row} Row
 * @typedef {{ open: (position: number) => void, chosen: (ids: number[]) => void,
 *   act: (name: string) => void }} Handlers
 */

/** Keys of actions on the selected pictures. @type {Record<string, string>} */
const ACTS = { Delete: "delete", "*": "star", s: "export" };

export class Grid {
  choice = nothing();
  layout = layOut(0, 0);
  /** By position. @type {Map<number, HTMLElement>} */
  #tiles = new Map();
  #prefix = unique("tile");
  /** @type {number | undefined} */
  #frame;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #resting;
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
        onscroll: () => this.later(),
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
    const watch = new ResizeObserver(() => this.later());
    watch.observe(this.element);
    const stop = follow(this.store, {
      rows: () => this.later(),
      thumbnails: ({ detail }) => this.#pictured(new Set(detail)),
    });
    return () => {
      stop();
      watch.disconnect();
      clearTimeout(this.#resting);
    };
  }

  later() {
    this.#frame ??= requestAnimationFrame(() => {
      this.#frame = undefined;
      this.draw();
    });
  }

  /** Show a new list. `keep`: the same query was repeated, so scroll position and tiles stay. */
  reset({ keep = false } = {}) {
    this.#drawnAt = -1;
    for (const [position, tile] of this.#tiles) {
      if (!keep && tile.dataset.id !== String(this.store.here(position)?.id)) this.#blank(tile);
      this.#move(tile, position); // updates aria-setsize
    }
    if (!keep) this.element.scrollTop = 0;
    const last = Math.max(0, this.store.count - 1);
    const { current, anchor } = keep ? this.choice : { current: 0, anchor: 0 };
    this.choice = {
      ...this.choice,
      current: Math.min(current, last),
      anchor: Math.min(anchor, last),
    };
    this.draw();
  }

  draw() {
    const { clientWidth, clientHeight, scrollTop } = this.element;
    if (!clientWidth) return;
    this.#measure(clientWidth);
    const { first, last } = seen(this.layout, scrollTop, clientHeight, this.store.count);
    // Rows that scroll by quickly are not requested: the replies would come too late.
    const flies = Math.abs(first - this.#drawnAt) >= last - first && this.#drawnAt >= 0;
    this.#recycle(first, last);
    /** @type {number[]} */
    const ids = [];
    for (const [position, tile] of this.#tiles) {
      const row = flies ? this.store.here(position) : this.store.row(position);
      if (row) this.#fill(tile, row);
      if (row) ids.push(row.id);
    }
    this.#mark();
    clearTimeout(this.#resting);
    this.#resting = setTimeout(
      () => {
        if (flies) this.draw();
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
    this.element.style.height = `${layout.height + 2}px`; // the style sheet limits it
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
      makeFace({ alt: "", size: [], starred: false }),
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
    showFace(part(tile, ".xai-face"), {});
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
    const said = facts.join("; ");
    showFace(part(tile, ".xai-face"), row, url);
    tile.classList.toggle("xai-pictured", Boolean(url));
    if (tile.dataset.id === String(row.id) && tile.getAttribute("aria-label") === said) return;
    tile.dataset.id = String(row.id);
    part(tile, ".xai-tilename").textContent = words;
    tile.setAttribute("aria-label", said);
    tile.title = facts.join("\n");
  }

  /** @param {Set<number>} ids */
  #pictured(ids) {
    for (const [position, tile] of this.#tiles) {
      const row = ids.has(Number(tile.dataset.id)) && this.store.row(position);
      if (row) this.#fill(tile, row);
    }
  }

  /** Mark the current tile and the selected ones. */
  #mark() {
    const focused = document.activeElement === this.element;
    const { current, ids } = this.choice;
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
    this.#take({ ids: new Set(ids), current: position, anchor: position });
  }

  /** @param {number} position */
  async #toggle(position) {
    this.#take(toggled(this.choice, position, await this.store.range(position, position)));
  }

  /**
   * @param {number} position
   * @param {boolean} [add]
   */
  async #extend(position, add) {
    const { anchor } = this.choice;
    this.go(position, anchor);
    const ids = await this.store.range(Math.min(anchor, position), Math.max(anchor, position));
    this.#take(extended(this.choice, position, ids, add));
  }

  /** @param {import("./selection.js").Choice} choice */
  #take(choice) {
    this.choice = choice;
    this.#mark();
    this.handlers.chosen([...choice.ids]);
  }

  /** @param {number[]} ids */
  select(ids) {
    this.#take({ ...this.choice, ids: new Set(ids) });
  }

  /** Move the keyboard's position, and scroll to it. @param {number} position */
  go(position, anchor = position) {
    const { clientHeight, scrollTop } = this.element;
    const to = scrollTo(this.layout, position, scrollTop, clientHeight);
    if (to !== scrollTop) this.element.scrollTop = to;
    this.choice = { ...this.choice, current: position, anchor };
  }

  /** @param {KeyboardEvent} event */
  async #key(event) {
    const { count } = this.store;
    if (!count) return;
    const { columns, step } = this.layout;
    const rows = Math.max(1, Math.floor(this.element.clientHeight / step));
    const { current } = this.choice;
    const position = led(event.key, current, { count, columns, rows });
    const plain = !event.ctrlKey && !event.metaKey && !event.altKey;
    const act = plain && ACTS[event.key];
    if (position !== undefined) {
      event.preventDefault();
      if (event.shiftKey) await this.#extend(position);
      else this.go(position);
      this.draw();
    } else if (event.key === "a" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      this.#take(extended(this.choice, current, await this.store.range(0, count - 1)));
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
