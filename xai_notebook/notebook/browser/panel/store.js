// The previews and uploads of a panel, shared by all of its views.

import { Kernel } from "../shared/kernel.js";

export const CARD = "application/x-xai-card"; // type of a drag; its data is the id of a card
/** Types of files that every browser shows; the kernel makes previews of others. */
const BROWSER_TYPES = new Set(["image/png", "image/jpeg", "image/webp", "image/gif"]);
const PART = 1 << 20; // bytes; a Jupyter server accepts messages of at most 10 MB

export class Store extends Kernel {
  /** URLs of previews by the ids of cards and inputs. @type {Map<string, string>} */
  pictures = new Map();
  /** @type {Map<string, { sending?: boolean, file?: File, note?: string }>} */
  uploads = new Map();

  /** @param {import("../shared/kernel.js").Messages} model */
  constructor(model) {
    super(model);
    this.addEventListener("input", (event) =>
      this.#answered(/** @type {CustomEvent} */ (event).detail),
    );
    this.addEventListener("preview", (event) => {
      const { id, buffers } = /** @type {CustomEvent} */ (event).detail;
      this.#keep(id, new Blob([buffers[0]], { type: "image/jpeg" }));
    });
  }

  /** @param {{ id: string, error: string, note: string }} reply */
  #answered({ id, error, note }) {
    const { file } = this.uploads.get(id) ?? {};
    if (error) this.uploads.delete(id);
    else this.uploads.set(id, { note });
    if (!file || error) return;
    if (BROWSER_TYPES.has(file.type)) this.#keep(id, file);
    else this.previews([id]);
  }

  /**
   * @param {string} id
   * @param {Blob} blob
   */
  #keep(id, blob) {
    const old = this.pictures.get(id);
    if (old) URL.revokeObjectURL(old);
    this.pictures.set(id, URL.createObjectURL(blob));
  }

  /**
   * Request previews that are missing, for example after the page was reloaded.
   * @param {string[]} ids
   */
  previews(ids) {
    const missing = ids.filter((id) => !this.pictures.has(id) && !this.uploads.get(id)?.sending);
    if (missing.length) this.send({ kind: "previews", ids: missing });
  }

  /**
   * Send a file. `restore`: the request in its metadata, if any, fills the form.
   * @param {string} id
   * @param {File} file
   */
  async upload(id, file, restore = false) {
    this.uploads.set(id, { sending: true, file });
    const parts = Math.max(1, Math.ceil(file.size / PART));
    for (let part = 0; part < parts; part += 1) {
      const bytes = await file.slice(part * PART, (part + 1) * PART).arrayBuffer();
      this.send({ kind: "upload", id, name: file.name, parts, restore }, [bytes]);
    }
  }
}
