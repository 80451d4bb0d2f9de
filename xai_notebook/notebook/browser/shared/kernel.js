// The connection of a widget to its kernel, shared by all views: requests, events and thumbnails.

/**
 * @typedef {{ on(event: string, listener: (...args: any[]) => void): void,
 *   send(content: any, callbacks?: any, buffers?: any[]): void,
 *   get(name: string): any, set(name: string, value: any): void, save_changes(): void }} Messages
 * @typedef {{ detail: any }} News  event of a message that answers no request; its name is the message's `kind`
 */

const MAX_THUMBNAILS = 600;
const PATIENCE = 4000; // milliseconds without an answer before the user is told

export const GONE =
  "The kernel has restarted or stopped. Run this cell again to continue; the generated pictures are in the library.";

export const SILENT =
  "No answer from the kernel. It is busy or has stopped. If it has stopped, run this cell again.";

export class Kernel extends EventTarget {
  alive = false;
  #number = 0;
  /** @type {Map<number, [(reply: any) => void, (error: Error) => void]>} */
  #waiting = new Map();
  /** URLs of thumbnails by the ids of pictures in the library, newest last; "" if a picture has no thumbnail.
   * @type {Map<number, string>} */
  thumbnails = new Map();
  /** @type {Map<number, Promise<void>>} */
  #requested = new Map();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #silenceTimer;

  /** @param {Messages} model */
  constructor(model) {
    super();
    this.model = model;
    model.on("msg:custom", (content, buffers) => this.receive(content, buffers ?? []));
    // After a restart the page still shows the widget: report the lost kernel before a click.
    model.on("comm_live_update", () => this.checkAlive());
    // marimo runs the cells that use a widget again when the page has changed its state.
    if (!model.get("cells"))
      model.on("change:revision", () => {
        model.set("seen", model.get("revision"));
        model.save_changes();
      });
  }

  /**
   * Send a message; returns whether there is a kernel.
   * @param {Record<string, unknown>} content
   * @param {(ArrayBuffer | ArrayBufferView)[]} [buffers]
   */
  send(content, buffers = []) {
    try {
      this.model.send(content, undefined, buffers);
      return true;
    } catch {
      this.#lose();
      return false;
    }
  }

  /**
   * Send a request; the promise rejects with a sentence for the user.
   * @param {Record<string, unknown>} content
   * @returns {Promise<any>} the reply with its `buffers`
   */
  ask(content) {
    this.#number += 1;
    const request = this.#number;
    return new Promise((resolve, reject) => {
      this.#waiting.set(request, [resolve, reject]);
      this.send({ ...content, request });
    });
  }

  #lose() {
    this.alive = false;
    for (const [, reject] of this.#waiting.values()) reject(new Error(GONE));
    this.#waiting.clear();
    this.dispatchEvent(new CustomEvent("gone"));
  }

  /**
   * @param {any} content
   * @param {DataView[]} buffers
   */
  receive(content, buffers) {
    const reply = { ...content, buffers };
    if (content.kind === "ready") {
      this.alive = true;
      clearTimeout(this.#silenceTimer);
    }
    const [resolve, reject] = this.#waiting.get(content.request) ?? [];
    this.#waiting.delete(content.request);
    if (content.kind === "error") reject?.(new Error(content.said));
    else if (resolve) resolve(reply);
    else this.dispatchEvent(new CustomEvent(content.kind, { detail: reply }));
  }

  /** Check for a kernel: a saved page shows its widgets without a kernel. */
  checkAlive() {
    clearTimeout(this.#silenceTimer);
    this.alive = false;
    if (!this.send({ kind: "hello" })) return;
    this.#silenceTimer = setTimeout(() => this.dispatchEvent(new CustomEvent("silent")), PATIENCE);
  }

  /**
   * Request missing thumbnails; the event "thumbnails" announces them.
   * @param {number[]} ids
   */
  async need(ids) {
    const missing = ids.filter((id) => !this.thumbnails.has(id) && !this.#requested.has(id));
    if (missing.length) {
      const request = this.#fetch(missing);
      for (const id of missing) this.#requested.set(id, request);
    }
    await Promise.all(ids.map((id) => this.#requested.get(id)));
  }

  /** @param {number[]} ids */
  async #fetch(ids) {
    try {
      const reply = await this.ask({ kind: "thumbnails", ids });
      for (const id of reply.missing) this.thumbnails.set(id, "");
      this.keep(reply);
      this.dispatchEvent(new CustomEvent("thumbnails", { detail: reply.ids }));
    } catch {
      // Other requests report the error; the thumbnail is requested again when it is next seen.
    } finally {
      for (const id of ids) this.#requested.delete(id);
    }
  }

  /**
   * Store the thumbnails of a reply.
   * @param {{ ids: number[], buffers: DataView<ArrayBuffer>[] }} reply
   */
  keep({ ids, buffers }) {
    for (const [index, id] of ids.entries()) {
      if (this.thumbnails.get(id)) continue; // a second URL would never be revoked
      const small = new Blob([buffers[index]], { type: "image/jpeg" });
      this.thumbnails.set(id, URL.createObjectURL(small));
    }
  }

  /**
   * Drop thumbnails above the limit, oldest first, except those of `seen` pictures.
   * @param {Set<number>} seen
   */
  trim(seen) {
    for (const [id, url] of this.thumbnails) {
      if (this.thumbnails.size <= MAX_THUMBNAILS) return;
      if (seen.has(id)) continue;
      if (url) URL.revokeObjectURL(url);
      this.thumbnails.delete(id);
    }
  }

  /**
   * The facts of a picture, and its original under a URL that the caller revokes.
   * @param {Record<string, unknown>} which  `id` or `card`
   * @returns {Promise<import("../messages.js").Picture & { url: string }>}
   */
  async picture(which) {
    const { buffers, ...info } = await this.ask({ kind: "picture", ...which });
    return { ...info, url: URL.createObjectURL(new Blob([buffers[0]], { type: info.media_type })) };
  }
}

/**
 * Listen to several events; returns a function that removes the listeners.
 * @param {EventTarget} target
 * @param {Record<string, (event: any) => void>} listeners
 */
export function listen(target, listeners) {
  for (const [name, listener] of Object.entries(listeners)) target.addEventListener(name, listener);
  return () => {
    for (const [name, listener] of Object.entries(listeners))
      target.removeEventListener(name, listener);
  };
}
