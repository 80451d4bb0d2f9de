// @ts-nocheck
// What one panel knows in this browser, whatever the number of its views: pictures and replies.

export const CARD = "application/x-xai-card"; // what is dragged: the id of a card
const PART = 1 << 20; // bytes; a Jupyter server cuts messages of more than 10 MB

export class Store extends EventTarget {
  constructor(model) {
    super();
    this.model = model;
    this.pictures = new Map(); // id -> URL of a preview
    this.originals = new Map(); // id -> promise of a URL
    this.waiting = new Map(); // id -> resolvers of an original
    this.uploads = new Map(); // id -> { sending, file, note }
    this.alive = false;
    model.on("msg:custom", (content, buffers) => this.receive(content, buffers));
  }

  /** Tell the kernel; returns whether there is one to be told. */
  send(content, buffers = []) {
    try {
      this.model.send(content, undefined, buffers);
      return true;
    } catch {
      this.alive = false;
      this.dispatchEvent(new CustomEvent("gone"));
      return false;
    }
  }

  receive(content, buffers) {
    const { kind, id } = content;
    if (kind === "ready") this.alive = true;
    if (kind === "picture") this.keep(id, new Blob([buffers[0]], { type: "image/jpeg" }));
    if (kind === "input") {
      const { file } = this.uploads.get(id) ?? {};
      if (content.error) this.uploads.delete(id);
      else this.uploads.set(id, { note: content.note });
      if (file && !content.error) this.keep(id, file);
    }
    if (kind === "original") {
      const [resolve, reject] = this.waiting.get(id) ?? [];
      this.waiting.delete(id);
      if (content.error) reject?.(new Error(content.error));
      else resolve?.(URL.createObjectURL(new Blob([buffers[0]], { type: content.type })));
    }
    this.dispatchEvent(
      new CustomEvent(kind, { detail: kind === "fill" || kind === "input" ? content : id }),
    );
  }

  keep(id, blob) {
    if (this.pictures.has(id)) URL.revokeObjectURL(this.pictures.get(id));
    this.pictures.set(id, URL.createObjectURL(blob));
  }

  /** Ask for previews that did not come by themselves, as after a reload of the page. */
  need(ids) {
    const missing = ids.filter((id) => !this.pictures.has(id) && !this.uploads.get(id)?.sending);
    if (missing.length) this.send({ kind: "pictures", ids: missing });
  }

  original(id) {
    if (!this.originals.has(id)) {
      const promise = new Promise((...handlers) => this.waiting.set(id, handlers));
      promise.catch(() => this.originals.delete(id));
      this.originals.set(id, promise);
      if (!this.send({ kind: "original", id })) {
        this.waiting.get(id)[1](
          new Error("This is a preview: the kernel, which has the original, is gone."),
        );
        this.waiting.delete(id);
      }
    }
    return this.originals.get(id);
  }

  /** `restore`: if the file tells how it was made, the form is to ask for that. */
  async upload(id, file, restore = false) {
    this.uploads.set(id, { sending: true, file });
    const parts = Math.max(1, Math.ceil(file.size / PART));
    for (let part = 0; part < parts; part += 1) {
      const bytes = await file.slice(part * PART, (part + 1) * PART).arrayBuffer();
      this.send({ kind: "upload", id, name: file.name, parts, restore }, [bytes]);
    }
  }
}
