// What xai-notebook adds to JupyterLab and Notebook 7.

import { ICommandPalette } from "@jupyterlab/apputils";
import { IEditorExtensionRegistry } from "@jupyterlab/codemirror";
import { IDefaultFileBrowser } from "@jupyterlab/filebrowser";
import { ILauncher } from "@jupyterlab/launcher";
import { INotebookTracker } from "@jupyterlab/notebook";
import { factory } from "./cells.js";
import { addCommands, COMMANDS } from "./commands.js";
import { openPictures } from "./pictures.js";

/** @typedef {import("@jupyterlab/application").JupyterFrontEndPlugin<void>} Plugin */

/** @type {Plugin} */
const cells = {
  id: "xai-notebook:cells",
  description: "Shows a cell of %%xai_image as text.",
  autoStart: true,
  requires: [IEditorExtensionRegistry],
  /** @param {IEditorExtensionRegistry} registry */
  activate: (_, registry) => registry.addExtension(factory),
};

/** @type {Plugin} */
const commands = {
  id: "xai-notebook:places",
  description: "Adds the panel and the library to launcher and command palette.",
  autoStart: true,
  requires: [INotebookTracker],
  optional: [ICommandPalette, ILauncher, IDefaultFileBrowser],
  /**
   * @param {INotebookTracker} notebooks
   * @param {ICommandPalette | null} palette
   * @param {ILauncher | null} launcher
   * @param {IDefaultFileBrowser | null} browser
   */
  activate: (app, notebooks, palette, launcher, browser) => {
    addCommands(app, notebooks, () => browser?.model.path);
    COMMANDS.forEach(({ command }, rank) => {
      palette?.addItem({ command, category: "xAI images", rank });
      launcher?.add({ command, category: "Other", rank: 100 + rank });
    });
  },
};

/** @type {Plugin} */
const pictures = {
  id: "xai-notebook:pictures",
  description: "Opens the pictures of cells in a viewer.",
  autoStart: true,
  requires: [INotebookTracker],
  activate: openPictures,
};

export default [cells, commands, pictures];
