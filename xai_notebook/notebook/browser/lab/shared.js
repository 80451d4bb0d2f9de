// JupyterLab's own modules, used instead of copies: tokens and editors must be the same objects.

/** Modules that `build.js` leaves out of the bundle. */
export const NAMES = [
  "@codemirror/language",
  "@codemirror/state",
  "@codemirror/view",
  "@jupyterlab/apputils",
  "@jupyterlab/cells",
  "@jupyterlab/codemirror",
  "@jupyterlab/filebrowser",
  "@jupyterlab/launcher",
  "@jupyterlab/notebook",
  "@jupyterlab/ui-components",
  "@lezer/highlight",
  "@lumino/coreutils",
];

/**
 * JupyterLab's modules by name and version, as webpack shares them.
 * @typedef {Record<string, Record<string, { get(): Promise<() => unknown>, loaded?: unknown }>>} Offered
 */

/** @type {Record<string, unknown>} */
export const modules = {};

/** @param {Offered} offered */
export async function loadModules(offered) {
  for (const name of NAMES) {
    const versions = Object.values(offered[name] ?? {});
    const version = versions.find(({ loaded }) => loaded) ?? versions[0];
    if (version === undefined) throw new Error(`xai-notebook: this JupyterLab has no ${name}`);
    const module = await version.get();
    modules[name] = module();
  }
}
