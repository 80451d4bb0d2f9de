// What JupyterLab loads: a container of modules, such as webpack's module federation makes.

import { take } from "./shared.js";

/** @type {import("./shared.js").Offered} */
let offered = {};

globalThis._JUPYTERLAB ??= {};
globalThis._JUPYTERLAB["xai-notebook"] = {
  /** @param {import("./shared.js").Offered} scope */
  init(scope) {
    offered = scope;
  },
  async get() {
    await take(offered);
    const { default: plugins } = await import("./index.js"); // evaluated now, and not before
    return () => ({ __esModule: true, default: plugins });
  },
};
