// @ts-nocheck
// What one library view knows in this browser: rows by position, thumbnails by picture.
// Both are bounded: 100,000 pictures take no more memory than a few screens.

const PAGE = 100; // rows of one request
const MOST_PAGES = 30;
const MOST_THUMBNAILS = 600;

export class LibraryStore extends EventTarget {
  constructor(model) {
    super();
    this.model = model;
    this.number = 0;
    this.waiting = new Map(); // request -> [resolve, reject]
    this.pages = new Map(); // page -> rows, the one used last at the end
    this.asked = new Map(); // page -> promise of its rows
    this.thumbnails = new Map(); // id -> URL, or "" where there is none
    this.wanted = new Set(); // ids under way
    this.count = 0;
    this.generation = 0; // of queries: what was asked for before is of no use
    model.on("msg:custom", (content, buffers) => this.receive(content, buffers));
  }

  /** Ask the kernel; the promise fails with a sentence. */
  ask(content) {
    this.number += 1;
    const request = this.number;
    return new Promise((...handlers) => {
      this.waiting.set(request, handlers);
      try {
        this.model.send({ ...content, request });
      } catch {
        this.waiting.delete(request);
        handlers[1](new Error("The kernel of this library is gone. Run this cell again."));
      }
    });
  }

  receive(content, buffers) {
    if (content.type === "changed") this.change(content);
    const [resolve, reject] = this.waiting.get(content.request) ?? [];
    this.waiting.delete(content.request);
    if (content.type === "error") reject?.(new Error(content.said));
    else resolve?.({ ...content, buffers });
  }

  async query(words, order, filters) {
    this.generation += 1;
    const generation = this.generation;
    const result = await this.ask({ type: "query", words, order, filters });
    if (generation !== this.generation) return null;
    this.pages.clear();
    this.asked.clear();
    this.count = result.count;
    return result;
  }

  /** The row at a position, if it is here; else it comes, and "rows" tells of it. */
  row(position) {
    const page = Math.floor(position / PAGE);
    const rows = this.pages.get(page);
    if (rows === undefined) {
      this.fetchPage(page).catch(() => {});
      return undefined;
    }
    this.pages.delete(page);
    this.pages.set(page, rows);
    return rows[position % PAGE];
  }

  /** The rows of a page; asked for once, however many wait for them. */
  fetchPage(page) {
    if (!this.asked.has(page)) {
      const coming = this.readPage(page);
      this.asked.set(page, coming);
      const done = () => this.asked.get(page) === coming && this.asked.delete(page);
      coming.then(done, done);
    }
    return this.asked.get(page);
  }

  async readPage(page) {
    const generation = this.generation;
    const { rows } = await this.ask({ type: "rows", start: page * PAGE, stop: (page + 1) * PAGE });
    if (generation !== this.generation) return [];
    this.pages.set(page, rows);
    while (this.pages.size > MOST_PAGES) this.pages.delete(this.pages.keys().next().value);
    this.dispatchEvent(new CustomEvent("rows"));
    return rows;
  }

  /** The ids from one position to another, both among them. */
  async range(first, last) {
    const ids = [];
    for (let position = first; position <= last; position += 1) {
      const page = Math.floor(position / PAGE);
      const rows = this.pages.get(page) ?? (await this.fetchPage(page));
      if (rows[position % PAGE]) ids.push(rows[position % PAGE].id);
    }
    return ids;
  }

  /** Ask for the thumbnails that are not here. */
  async need(ids) {
    const missing = ids.filter((id) => !this.thumbnails.has(id) && !this.wanted.has(id));
    if (missing.length === 0) return;
    for (const id of missing) this.wanted.add(id);
    try {
      const reply = await this.ask({ type: "thumbnails", ids: missing });
      for (const [place, id] of reply.ids.entries()) {
        const small = new Blob([reply.buffers[place]], { type: "image/jpeg" });
        this.thumbnails.set(id, URL.createObjectURL(small));
      }
      for (const id of reply.missing) this.thumbnails.set(id, "");
      this.dispatchEvent(new CustomEvent("thumbnails", { detail: reply.ids }));
    } catch {
      // The search says what is wrong; a thumbnail is asked for again when it is seen again.
    } finally {
      for (const id of missing) this.wanted.delete(id);
    }
  }

  /** Forget thumbnails that are not seen now. */
  trim(seen) {
    for (const [id, url] of this.thumbnails) {
      if (this.thumbnails.size <= MOST_THUMBNAILS) return;
      if (seen.has(id)) continue;
      if (url) URL.revokeObjectURL(url);
      this.thumbnails.delete(id);
    }
  }

  change({ ids, rows }) {
    const changed = new Map(rows.map((row) => [row.id, row]));
    for (const page of this.pages.values())
      page.forEach((row, place) => {
        if (changed.has(row.id)) page[place] = changed.get(row.id);
      });
    this.dispatchEvent(new CustomEvent("changed", { detail: ids }));
  }
}
