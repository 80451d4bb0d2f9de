// Bundles what the kernel gives to the browser: one module and one style sheet a widget.

import { build } from "esbuild";

await build({
  entryPoints: { panel: "panel/index.js", library: "library/index.js" },
  outdir: "../static",
  bundle: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  minify: true,
  legalComments: "none",
  logLevel: "warning",
});
