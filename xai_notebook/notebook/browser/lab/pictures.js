// Pictures in outputs open in the viewer. It shows the preview in the page, and the original if the
// notebook's kernel has loaded the extension and has the original in its library.

import shared from "../shared/shared.css";
import frame from "../shared/viewer.css";
import { Viewer } from "../shared/viewer.js";

/**
 * @typedef {import("../messages.js").Picture} Picture
 * @typedef {import("@jupyterlab/notebook").INotebookTracker} Notebooks
 */

const OPENS_VIEWER = "xai-opens";
const PICTURE = 'figure > img[src^="data:image/"]';
const DIGEST = /^sha256-([0-9a-f]{64})$/; // class of a picture: the digest of its original
const PREVIEW = "This is the preview in the notebook.";
const NO_KERNEL = "To see the original, start a kernel and run %load_ext xai_notebook.";
const NOT_LOADED = "To see the original, run %load_ext xai_notebook.";
const NOT_FOUND = "The original is not in the library.";
const GENERATED = '[alt*=", generated from the prompt: "]';
const style = `.${OPENS_VIEWER} { cursor: zoom-in; }
.${OPENS_VIEWER}:focus-visible { outline: 3px solid var(--jp-brand-color1); outline-offset: -3px; }`;

/**
 * Make our pictures in a part of the page open in the viewer; other images stay as they are.
 * @param {ParentNode} part
 */
function mark(part) {
  /** @type {NodeListOf<HTMLImageElement>} */
  const images = part.querySelectorAll(PICTURE);
  for (const image of images) {
    const output = image.closest(".jp-OutputArea-output");
    if (!output?.querySelector(PICTURE + GENERATED) || image.closest(".xai-widget")) continue;
    image.classList.add(OPENS_VIEWER);
    image.tabIndex = 0;
    image.setAttribute("role", "button");
    image.setAttribute("aria-haspopup", "dialog");
  }
}

/**
 * Return the text under a label, in the caption or above all pictures.
 * @param {Iterable<Element>} elements
 * @param {string} label
 */
function textUnder(elements, label) {
  for (const element of elements)
    for (const name of element.querySelectorAll("strong, summary")) {
      if (name.textContent?.trim().replace(/:$/, "") !== label) continue;
      const box = name.closest("summary")?.parentElement ?? name.parentElement;
      // The full text follows the first lines of a folded text.
      const words = box?.querySelector(":scope > div bdi") ?? box?.querySelector("bdi");
      return words?.textContent ?? "";
    }
  return "";
}

/** Return whether the page has less than the original. @param {{ facts: string[], size: number[] }} picture */
function isPreview({ facts, size: [shown = 0] }) {
  const [, width] = /(\d+) × \d+/.exec(facts.join(" ")) ?? [];
  return Number(width) > shown;
}

/**
 * Read a picture and its caption from the page.
 * @param {HTMLImageElement} image
 * @returns {Picture & { url: string }}
 */
function glance(image) {
  const caption = image.parentElement?.querySelector("figcaption");
  const output = image.closest(".jp-OutputArea-output");
  const above = output?.querySelector(":scope > div > div:first-child");
  const elements = [caption, above?.querySelector("img") ? null : above].filter((each) => !!each);
  const made = image.matches(GENERATED);
  const line = [...(caption?.children ?? [])].find(
    (child) => child.matches("div") && !child.querySelector("strong"),
  );
  const facts = (made ? line : caption)?.textContent ?? "";
  return {
    id: null,
    url: image.src,
    alt: image.alt,
    size: [image.naturalWidth, image.naturalHeight],
    prompt: textUnder(elements, "Prompt") || textUnder(elements, "Prompt as written"),
    rewritten: textUnder(elements, "Rewritten prompt"),
    facts: facts.split(" · ").filter((fact) => fact && !/^\[[\d:]+\]$/.test(fact)),
    error: "",
    created: 0,
    starred: false,
    tags: [],
    inputs: [],
    cell: "",
    lineage: { ancestors: [], descendants: [] },
    media_type: "",
  };
}

/** The open notebooks. @type {Notebooks | undefined} */
let notebooks;

/**
 * Return the original of a picture as the address of its bytes, from the kernel of its notebook.
 * The kernel is asked only for a digest, and only if it has loaded the extension: importing the
 * package here could run code from the folder of somebody else's notebook.
 * @param {HTMLImageElement} image
 * @returns {Promise<{ url: string, missing: string }>} `missing` says why there is no original
 */
async function original(image) {
  const [digest] = [...image.classList].flatMap((name) => DIGEST.exec(name)?.[1] ?? []);
  const notebook = notebooks?.find(({ node }) => node.contains(image));
  const kernel = notebook?.sessionContext.session?.kernel;
  if (!digest) return { url: "", missing: "" };
  if (!kernel || (await kernel.info).language_info.name !== "python")
    return { url: "", missing: NO_KERNEL };
  const found = `get_ipython().magics_manager.registry["XaiImage"].original("${digest}")`;
  const request = { code: "", silent: true, store_history: false, user_expressions: { found } };
  const { content } = await kernel.requestExecute(request).done;
  const reply = content.status === "ok" ? content.user_expressions?.found : undefined;
  const answer = /** @type {{ data?: Record<string, string> } | undefined} */ (reply);
  if (!answer?.data) return { url: "", missing: NOT_LOADED };
  const type = Object.keys(answer.data).find((name) => name.startsWith("image/"));
  if (!type) return { url: "", missing: NOT_FOUND };
  const bytes = await (await fetch(`data:${type};base64,${answer.data[type]}`)).blob();
  return { url: URL.createObjectURL(bytes), missing: "" };
}

/**
 * Return a picture with its original, or with a note that this is the preview.
 * @param {HTMLImageElement} image
 */
async function load(image) {
  await image.decode().catch(() => {}); // damaged images are shown as far as possible
  const picture = glance(image);
  if (!isPreview(picture)) return picture;
  const { url, missing } = await original(image).catch(() => ({ url: "", missing: NO_KERNEL }));
  if (!url) return { ...picture, error: `${PREVIEW} ${missing}`.trim() };
  const whole = new Image();
  whole.src = url;
  try {
    await whole.decode();
  } catch {
    URL.revokeObjectURL(url);
    return { ...picture, error: PREVIEW };
  }
  return { ...picture, url, size: [whole.naturalWidth, whole.naturalHeight] };
}

/** The pictures of a cell, in their order. @param {HTMLImageElement} image */
function picturesAround(image) {
  /** @type {NodeListOf<HTMLImageElement>} */
  const images = (image.closest(".jp-OutputArea") ?? document).querySelectorAll(`.${OPENS_VIEWER}`);
  return [...images];
}

const viewer = new Viewer({
  glance,
  load,
  next: (image, by) => {
    const images = picturesAround(image);
    const index = images.indexOf(image);
    return index < 0 ? undefined : images[index + by];
  },
  position: (image) => {
    const images = picturesAround(image);
    return images.length > 1 ? `${images.indexOf(image) + 1} of ${images.length}` : "";
  },
});

/** @param {Event} event */
function open(event) {
  const { target } = event;
  if (!(target instanceof HTMLImageElement) || !target.classList.contains(OPENS_VIEWER)) return;
  event.preventDefault();
  event.stopPropagation();
  void viewer.open(target);
}

/**
 * Make present and future pictures of the page open in the viewer.
 * @param {unknown} _app
 * @param {Notebooks} tracker
 */
export function openPictures(_app, tracker) {
  notebooks = tracker;
  const sheet = document.createElement("style");
  sheet.textContent = shared + frame + style;
  document.head.append(sheet);
  document.body.append(viewer.element);
  mark(document);
  new MutationObserver((changes) => {
    for (const { addedNodes } of changes)
      for (const node of addedNodes) if (node instanceof Element) mark(node);
  }).observe(document.body, { childList: true, subtree: true });
  document.addEventListener("click", (event) => {
    if (!event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey) open(event);
  });
  // Handle keys before the notebook does, where Enter edits the cell.
  const keys = new Set(["Enter", " "]);
  window.addEventListener("keydown", (event) => keys.has(event.key) && open(event), true);
}
