// Builds the bundles: a module and a style sheet for each widget, and JupyterLab's extension.

import { readFile, rm, writeFile } from "node:fs/promises";
import { basename } from "node:path";
import { build } from "esbuild";
import { NAMES } from "./lab/shared.js";

const LAB = "../static/lab";

/** @type {import("esbuild").BuildOptions} */
const common = {
  bundle: true,
  target: ["es2022", "chrome109", "firefox115", "safari16"],
  charset: "utf8",
  minify: true,
  legalComments: "none",
  logLevel: "warning",
};

/** @type {import("esbuild").Plugin} */
const shared = {
  name: "shared",
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^@(codemirror|jupyterlab|lezer|lumino)\// }, ({ path }) =>
      NAMES.includes(path)
        ? { path, namespace: "shared" }
        : { errors: [{ text: `${path} is JupyterLab's: name it in lab/shared.js` }] },
    );
    onLoad({ filter: /./, namespace: "shared" }, ({ path }) => ({
      contents: `module.exports = require("./lab/shared.js").modules[${JSON.stringify(path)}];`,
      resolveDir: import.meta.dirname,
    }));
  },
};

/**
 * Write the files that describe the extension to JupyterLab.
 * @param {string} load The extension's module. Browsers cache it permanently, so its name contains a hash of its content.
 */
async function describe(load) {
  const project = await readFile("../../../pyproject.toml", "utf8");
  const field = (/** @type {string} */ name) =>
    new RegExp(`^${name} = "(.*)"$`, "m").exec(project)?.[1];
  const { devDependencies } = JSON.parse(await readFile("package.json", "utf8"));
  const minor = (/** @type {string} */ name) => /^\d+\.\d+/.exec(devDependencies[name]);
  const needed = NAMES.filter((name) => name.startsWith("@jupyterlab/"));
  await write("package.json", {
    name: "xai-notebook",
    version: field("version"),
    description: field("description"),
    license: field("license"),
    dependencies: Object.fromEntries(needed.map((name) => [name, `^${minor(name)}.0`])),
    jupyterlab: { extension: true, _build: { load, extension: "./extension" } },
  });
  await write("install.json", { packageManager: "python", packageName: "xai-notebook" });
}

/** @type {(name: string, value: object) => Promise<void>} */
const write = (name, value) => writeFile(`${LAB}/${name}`, `${JSON.stringify(value, null, 2)}\n`);

await build({
  ...common,
  entryPoints: { panel: "panel/index.js", library: "library/index.js" },
  outdir: "../static",
  format: "esm",
});
await rm(LAB, { recursive: true, force: true });
const { metafile } = await build({
  ...common,
  entryPoints: { remoteEntry: "lab/remote.js" },
  entryNames: "[name].[hash]",
  outdir: `${LAB}/static`,
  format: "iife",
  loader: { ".css": "text" },
  plugins: [shared],
  metafile: true,
});
const [built] = Object.keys(metafile.outputs);
await describe(`static/${basename(built)}`);
