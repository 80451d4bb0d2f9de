// The entry point that JupyterLab loads: a container as made by webpack's module federation.

import { loadModules } from "./shared.js";

/** @type {import("./shared.js").Offered} */
let offered = {};

globalThis._JUPYTERLAB ??= {};
globalThis._JUPYTERLAB["xai-notebook"] = {
  /** @param {import("./shared.js").Offered} scope */
  init(scope) {
    offered = scope;
  },
  async get() {
    await loadModules(offered);
    const { default: plugins } = await import("./index.js"); // must be evaluated after `loadModules`
    return () => ({ __esModule: true, default: plugins });
  },
};
