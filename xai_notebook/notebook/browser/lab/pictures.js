// Pictures in outputs open in the viewer, without a kernel: the viewer shows what is in the page.

import shared from "../shared/shared.css";
import frame from "../shared/viewer.css";
import { Viewer } from "../shared/viewer.js";

/** @typedef {import("../messages.js").Picture} Picture */

const OPENS_VIEWER = "xai-opens";
const PICTURE = 'figure > img[src^="data:image/"]';
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
  const size = [image.naturalWidth, image.naturalHeight];
  const [, width] = /(\d+) × \d+/.exec(facts) ?? [];
  return {
    id: null,
    url: image.src,
    alt: image.alt,
    size,
    prompt: textUnder(elements, "Prompt") || textUnder(elements, "Prompt as written"),
    rewritten: textUnder(elements, "Rewritten prompt"),
    facts: facts.split(" · ").filter((fact) => fact && !/^\[[\d:]+\]$/.test(fact)),
    error: Number(width) > size[0] ? "This is the preview in the notebook." : "",
    created: 0,
    starred: false,
    tags: [],
    inputs: [],
    cell: "",
    lineage: { ancestors: [], descendants: [] },
    media_type: "",
  };
}

/** The pictures of a cell, in their order. @param {HTMLImageElement} image */
function picturesAround(image) {
  /** @type {NodeListOf<HTMLImageElement>} */
  const images = (image.closest(".jp-OutputArea") ?? document).querySelectorAll(`.${OPENS_VIEWER}`);
  return [...images];
}

const viewer = new Viewer({
  glance,
  load: async (image) => {
    await image.decode().catch(() => {}); // damaged images are shown as far as possible
    return glance(image);
  },
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

/** Make present and future pictures of the page open in the viewer. */
export function openPictures() {
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
