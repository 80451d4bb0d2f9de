// Permits for new notebooks to run their cell. Only the page that made the notebook has the permit.
//
// In Notebook 7 the notebook opens in another tab. That tab asks all pages of this extension, and
// the page that made the notebook answers, once. A permit is the id of the notebook's cell, and is
// stored nowhere: a file, browser storage or an address cannot forge it.

import { UUID } from "@lumino/coreutils";

const CHANNEL = "xai-notebook:permits";
const LIFETIME = 60_000; // milliseconds
const PATIENCE = 10_000; // milliseconds: the other page may be busy

/** @typedef {{ asks?: string, path?: unknown, tells?: string, id?: unknown }} Message */

export class Permits {
  /** The id of the cell and when it was made, by the notebook's path.
   * @type {Map<string, { id: string, made: number }>} */
  #permits = new Map();

  constructor() {
    this.channel = new BroadcastChannel(CHANNEL);
    this.channel.addEventListener("message", ({ data }) => this.#answer(data));
  }

  /**
   * Permit a notebook, if it opens within a minute, to run the cell with the returned id once.
   * @param {string} path
   */
  give(path) {
    const id = UUID.uuid4();
    this.#permits.set(path, { id, made: Date.now() });
    return id;
  }

  /**
   * Return the id of the cell that may run in a notebook, and use the permit up.
   * @param {string} path
   * @param {number} [patience]  milliseconds that other tabs have to answer
   * @returns {Promise<string | undefined>}
   */
  async take(path, patience = PATIENCE) {
    return this.#useUp(path) ?? (await this.#ask(path, patience));
  }

  /** @param {string} path */
  #useUp(path) {
    const found = this.#permits.get(path);
    this.#permits.delete(path);
    return found && Date.now() - found.made < LIFETIME ? found.id : undefined;
  }

  /**
   * Ask other tabs; without an answer in time, the notebook has no permit.
   * @param {string} path
   * @param {number} patience
   * @returns {Promise<string | undefined>}
   */
  #ask(path, patience) {
    const asks = UUID.uuid4();
    return new Promise((resolve) => {
      const done = (/** @type {string | undefined} */ id) => {
        clearTimeout(timer);
        this.channel.removeEventListener("message", onMessage);
        resolve(id);
      };
      const timer = setTimeout(done, patience, undefined);
      const onMessage = (/** @type {MessageEvent<Message | null>} */ { data }) => {
        if (data?.tells === asks) done(typeof data.id === "string" ? data.id : undefined);
      };
      this.channel.addEventListener("message", onMessage);
      this.channel.postMessage({ asks, path });
    });
  }

  /** @param {Message | null} message */
  #answer(message) {
    if (typeof message?.asks !== "string" || typeof message.path !== "string") return;
    const id = this.#useUp(message.path);
    if (id !== undefined) this.channel.postMessage({ tells: message.asks, id });
  }
}
