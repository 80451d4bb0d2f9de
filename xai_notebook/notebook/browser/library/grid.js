// @ts-nocheck
// A grid of which only what is seen is in the page. One stop for Tab; arrows move inside.

import { h, unique } from "../shared/elements.js";

const TILE = 168; // pixels a side, at least
const GAP = 8;
const OVER = 2; // rows above and below that are there before they are seen

export class Grid {
  constructor(store, { open, chosen, act }) {
    this.store = store;
    this.handlers = { open, chosen, act };
    this.tiles = new Map(); // position -> element
    this.selected = new Set(); // ids
    this.current = 0; // position of the keyboard
    this.anchor = 0; // where Shift begins
    this.columns = 1;
    this.prefix = unique("tile");
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
        onkeydown: (event) => this.key(event),
        onfocus: () => this.mark(),
        onblur: () => this.mark(),
      },
      this.space,
    );
    this.watch = new ResizeObserver(() => this.later());
    store.addEventListener("rows", () => this.later());
    store.addEventListener("thumbnails", ({ detail }) => this.pictured(new Set(detail)));
  }

  start() {
    this.watch.observe(this.element);
    return () => this.watch.disconnect();
  }

  later() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = undefined;
      this.draw();
    });
  }

  /** Begin anew: another query has another list. */
  reset({ keep = false } = {}) {
    for (const tile of this.tiles.values()) tile.remove();
    this.tiles.clear();
    if (!keep) {
      this.current = this.anchor = 0;
      this.element.scrollTop = 0;
    }
    this.current = Math.max(0, Math.min(this.current, this.store.count - 1));
    this.draw();
  }

  measure() {
    const width = this.element.clientWidth - GAP;
    this.columns = Math.max(1, Math.floor(width / (TILE + GAP)));
    this.side = Math.floor(width / this.columns) - GAP;
    this.step = this.side + GAP;
    this.space.style.height = `${Math.ceil(this.store.count / this.columns) * this.step + GAP}px`;
  }

  draw() {
    if (!this.element.clientWidth) return;
    this.measure();
    const top = Math.floor(this.element.scrollTop / this.step) - OVER;
    const bottom =
      Math.ceil((this.element.scrollTop + this.element.clientHeight) / this.step) + OVER;
    const first = Math.max(0, top * this.columns);
    const last = Math.min(this.store.count, bottom * this.columns);
    for (const [position, tile] of this.tiles) {
      if (position >= first && position < last) continue;
      tile.remove();
      this.tiles.delete(position);
    }
    const ids = [];
    for (let position = first; position < last; position += 1) {
      const row = this.store.row(position);
      this.place(position, row);
      if (row) ids.push(row.id);
    }
    this.mark();
    // While somebody scrolls fast, what flies by needs no picture.
    clearTimeout(this.resting);
    this.resting = setTimeout(
      () => {
        this.store.need(ids);
        this.store.trim(new Set(ids));
      },
      this.tiles.size && this.drawnAt === first ? 0 : 60,
    );
    this.drawnAt = first;
  }

  place(position, row) {
    let tile = this.tiles.get(position);
    if (!tile) {
      tile = h(
        "div",
        {
          class: "xai-tile",
          role: "option",
          id: `${this.prefix}-${position}`,
          "aria-selected": "false",
          onclick: (event) => this.click(event, position),
          ondblclick: () => this.handlers.open(position),
        },
        h("img", { alt: "", hidden: true, draggable: "false" }),
        h("span", { class: "xai-star", hidden: true }, "★"),
        h("span", { class: "xai-tilename", dir: "auto" }),
      );
      this.tiles.set(position, tile);
      this.space.append(tile);
    }
    const left = GAP + (position % this.columns) * this.step;
    const top = GAP + Math.floor(position / this.columns) * this.step;
    tile.style.cssText = `transform: translate(${left}px, ${top}px); width: ${this.side}px; height: ${this.side}px`;
    tile.setAttribute("aria-setsize", this.store.count);
    tile.setAttribute("aria-posinset", position + 1);
    if (row) this.fill(tile, row);
  }

  fill(tile, row) {
    const [image, star, name] = tile.children;
    tile.dataset.id = row.id;
    const url = this.store.thumbnails.get(row.id);
    if (url && image.getAttribute("src") !== url) image.src = url;
    image.hidden = !url;
    star.hidden = !row.starred;
    const words = row.prompt || (row.status === "gone" ? "This picture is gone." : "No prompt");
    if (name.textContent !== words) name.textContent = words;
    const facts = [
      words,
      row.model,
      row.starred ? "starred" : "",
      row.tags.length ? `tags: ${row.tags.join(", ")}` : "",
    ];
    tile.setAttribute("aria-label", facts.filter(Boolean).join("; "));
    tile.title = facts.filter(Boolean).join("\n");
    tile.setAttribute("aria-selected", String(this.selected.has(row.id)));
  }

  pictured(ids) {
    for (const [position, tile] of this.tiles)
      if (ids.has(Number(tile.dataset.id))) this.fill(tile, this.store.row(position));
  }

  /** Show where the keyboard is, and what is chosen. */
  mark() {
    const focused = document.activeElement === this.element;
    for (const [position, tile] of this.tiles) {
      tile.classList.toggle("xai-current", focused && position === this.current);
      tile.setAttribute("aria-selected", String(this.selected.has(Number(tile.dataset.id))));
    }
    const tile = this.tiles.get(this.current);
    if (tile) this.element.setAttribute("aria-activedescendant", tile.id);
    else this.element.removeAttribute("aria-activedescendant");
  }

  async click(event, position) {
    this.element.focus({ preventScroll: true });
    if (event.shiftKey) await this.extend(position);
    else if (event.ctrlKey || event.metaKey) await this.toggle(position);
    else await this.choose(position);
  }

  async choose(position) {
    this.current = this.anchor = position;
    this.select(await this.store.range(position, position));
  }

  async toggle(position) {
    this.current = this.anchor = position;
    const [id] = await this.store.range(position, position);
    if (id === undefined) return;
    const ids = new Set(this.selected);
    if (!ids.delete(id)) ids.add(id);
    this.select(ids);
  }

  async extend(position) {
    this.current = position;
    const ids = await this.store.range(
      Math.min(this.anchor, position),
      Math.max(this.anchor, position),
    );
    this.select(ids);
  }

  select(ids) {
    this.selected = new Set(ids);
    this.mark();
    this.handlers.chosen([...this.selected]);
  }

  show(position) {
    const top = Math.floor(position / this.columns) * this.step;
    const height = this.element.clientHeight;
    if (top < this.element.scrollTop) this.element.scrollTop = top;
    else if (top + this.step + GAP > this.element.scrollTop + height)
      this.element.scrollTop = top + this.step + GAP - height;
  }

  async key(event) {
    const last = this.store.count - 1;
    const screen = Math.max(1, Math.floor(this.element.clientHeight / this.step)) * this.columns;
    const moves = {
      ArrowLeft: -1,
      ArrowRight: 1,
      ArrowUp: -this.columns,
      ArrowDown: this.columns,
      PageUp: -screen,
      PageDown: screen,
      Home: -Infinity,
      End: Infinity,
    };
    if (last < 0) return;
    if (event.key in moves) {
      event.preventDefault();
      const position = Math.max(0, Math.min(last, this.current + moves[event.key]));
      this.show(position);
      if (event.shiftKey) await this.extend(position);
      else this.current = this.anchor = position;
      this.draw();
    } else if (event.key === " ") {
      event.preventDefault();
      await this.toggle(this.current);
    } else if (event.key === "Enter") {
      event.preventDefault();
      event.stopPropagation();
      this.handlers.open(this.current);
    } else if (event.key === "Escape") this.select([]);
    else if (event.key === "Delete") this.handlers.act("delete");
    else if (event.key === "s" && !event.ctrlKey && !event.metaKey && !event.altKey)
      this.handlers.act("star");
  }
}
