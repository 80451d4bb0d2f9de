// The launcher's icons, in JupyterLab's style.

import { LabIcon } from "@jupyterlab/ui-components";

/** @type {(name: string, paths: string) => LabIcon} */
const icon = (name, paths) =>
  new LabIcon({
    name: `xai-notebook:${name}`,
    svgstr: `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24"><g class="jp-icon3 jp-icon-selectable" fill="#616161">${paths}</g></svg>`,
  });

const SPARK = "M18.5 1l1.1 2.9 2.9 1.1-2.9 1.1-1.1 2.9-1.1-2.9-2.9-1.1 2.9-1.1z";

export const panelIcon = icon(
  "panel",
  `<path d="${SPARK}"/><path d="M13 4H4a2 2 0 0 0-2 2v13a2 2 0 0 0 2 2h14a2 2 0 0 0 2-2v-8h-2v8H4V6h9z"/><path d="M5.5 17.5h11l-3.6-4.8-2.6 3.3-1.9-2.2z"/>`,
);

export const libraryIcon = icon(
  "library",
  `<path d="M4 2h16v2H4zM3 5.5h18v2H3z"/><path d="M20 9H4a2 2 0 0 0-2 2v9a2 2 0 0 0 2 2h16a2 2 0 0 0 2-2v-9a2 2 0 0 0-2-2zm0 11H4v-9h16z"/><path d="M6 18.5h12l-4-5.2-2.9 3.6-2-2.3z"/>`,
);
