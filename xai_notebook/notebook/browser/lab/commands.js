// The commands that open panel and library, for launcher and command palette.

import { CodeCell } from "@jupyterlab/cells";
import { NotebookActions } from "@jupyterlab/notebook";
import { libraryIcon, panelIcon } from "./icons.js";
import { Permits } from "./permits.js";

/**
 * @typedef {import("@jupyterlab/application").JupyterFrontEnd} App
 * @typedef {import("@jupyterlab/notebook").NotebookPanel} NotebookPanel
 * @typedef {import("@jupyterlab/notebook").INotebookTracker} Notebooks
 * @typedef {import("@jupyterlab/services").Kernel.IKernelConnection} Kernel
 */

export const COMMANDS = [
  {
    command: "xai-notebook:panel",
    magic: "xai_panel",
    label: "xAI image panel",
    caption: "Make images with a form, in this notebook or in a new one",
    icon: panelIcon,
  },
  {
    command: "xai-notebook:library",
    magic: "xai_library",
    label: "xAI image library",
    caption: "Search and organize all your images, in this notebook or in a new one",
    icon: libraryIcon,
  },
];

const LOAD = "%load_ext xai_notebook";
/** The only texts of cells that may run when a notebook opens. @type {Set<unknown>} */
const SOURCES = new Set(COMMANDS.map(({ magic }) => `${LOAD}\n%${magic}`));
const permits = new Permits();

/**
 * Return whether a kernel has the magic. If the kernel is busy, look for a cell that loads the extension.
 * @param {NotebookPanel} panel
 * @param {Kernel} kernel
 * @param {string} magic
 */
async function isLoaded({ content }, kernel, magic) {
  if (kernel.status !== "idle")
    return content.widgets.some(({ model }) => model.sharedModel.getSource().includes(LOAD));
  const loaded = `'${magic}' in get_ipython().magics_manager.magics['line']`;
  const request = { code: "", silent: true, store_history: false, user_expressions: { loaded } };
  const { content: reply } = await kernel.requestExecute(request).done;
  const answer = reply.status === "ok" ? JSON.stringify(reply.user_expressions) : "";
  return answer.includes('"text/plain":"True"');
}

/**
 * Put the magic into a new cell below the active one, or into an empty active cell, and run the cell.
 * @param {NotebookPanel} panel
 * @param {string} magic
 */
async function runBelow(panel, magic) {
  const { content, sessionContext } = panel;
  const kernel = sessionContext.session?.kernel;
  const load = kernel && (await isLoaded(panel, kernel, magic)) ? "" : `${LOAD}\n`;
  const active = content.activeCell?.model;
  if (active?.type !== "code" || active.sharedModel.getSource().trim())
    NotebookActions.insertBelow(content);
  content.deselectAll(); // otherwise other selected cells would run, too
  content.activeCell?.model.sharedModel.setSource(`${load}%${magic}`);
  await NotebookActions.run(content, sessionContext); // runs in this notebook, even if another is active by now
}

/**
 * Run the only cell of a notebook that this extension has just made with this cell.
 * @param {NotebookPanel} panel
 */
async function runIfNew(panel) {
  const { content, context, sessionContext } = panel;
  await context.ready;
  if (!panel.isAttached) return; // Notebook 7 shows the notebook in another tab
  const id = await permits.take(context.path);
  if (id === undefined) return;
  await sessionContext.ready;
  await sessionContext.session?.kernel?.info; // earlier messages may be lost
  const [cell, ...others] = content.widgets;
  if (!panel.isAttached || others.length || !(cell instanceof CodeCell)) return;
  await cell.ready;
  // No await between this check and `execute`, which reads the source.
  const { sharedModel } = cell.model;
  if (sharedModel.getId() !== id || !SOURCES.has(sharedModel.getSource())) return;
  // `any`: these packages bring two versions of the types.
  await CodeCell.execute(cell, /** @type {any} */ (sessionContext));
}

/**
 * Make a notebook that runs the magic, and open it.
 * @param {App} app
 * @param {string} magic
 * @param {string} folder
 */
async function runInNew(app, magic, folder) {
  const { contents, kernelspecs } = app.serviceManager;
  await kernelspecs.ready;
  const specs = Object.values(kernelspecs.specs?.kernelspecs ?? {});
  const defaultName = kernelspecs.specs?.default;
  const pythons = specs.filter((spec) => spec?.language === "python");
  const spec = pythons.find((python) => python?.name === defaultName) ?? pythons[0];
  const { path } = await contents.newUntitled({ path: folder, type: "notebook" });
  const id = permits.give(path);
  const cell = { id, cell_type: "code", execution_count: null, metadata: {}, outputs: [] };
  const metadata = spec
    ? { kernelspec: { name: spec.name, display_name: spec.display_name, language: "python" } }
    : {};
  await contents.save(path, {
    type: "notebook",
    format: "json",
    content: {
      cells: [{ ...cell, source: `${LOAD}\n%${magic}` }],
      metadata,
      nbformat: 4,
      nbformat_minor: 5,
    },
  });
  await app.commands.execute("docmanager:open", { path, factory: "Notebook" });
}

/**
 * Add the commands.
 * @param {App} app
 * @param {Notebooks} notebooks
 * @param {() => string | undefined} folder Default folder of new notebooks.
 */
export function addCommands(app, notebooks, folder) {
  for (const { command, magic, ...shown } of COMMANDS) {
    app.commands.addCommand(command, {
      ...shown,
      execute: async ({ cwd }) => {
        const panel = notebooks.currentWidget;
        if (panel && panel === app.shell.currentWidget) await runBelow(panel, magic);
        else await runInNew(app, magic, String(cwd ?? folder() ?? ""));
      },
    });
  }
  notebooks.forEach(runIfNew); // Notebook 7 may open a notebook before its extensions are loaded
  notebooks.widgetAdded.connect((_, panel) => void runIfNew(panel));
}
