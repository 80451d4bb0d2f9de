// Every picture of a cell opens in the viewer, from what the page holds: no kernel is asked.

import shared from "../shared/shared.css";
import frame from "../shared/viewer.css";
import { Viewer } from "../shared/viewer.js";

/** @typedef {import("../messages.js").Picture} Picture */

const OPENS = "xai-opens";
const PICTURE = 'figure > img[src^="data:image/"]';
const MADE_HERE = '[alt*=", generated from the prompt: "]';
const style = `.${OPENS} { cursor: zoom-in; }
.${OPENS}:focus-visible { outline: 3px solid var(--jp-brand-color1); outline-offset: -3px; }`;

/**
 * Make the pictures of outputs in a part of the page ones to open; those of others stay as they are.
 * @param {ParentNode} part
 */
function mark(part) {
  /** @type {NodeListOf<HTMLImageElement>} */
  const images = part.querySelectorAll(PICTURE);
  for (const image of images) {
    const output = image.closest(".jp-OutputArea-output");
    if (!output?.querySelector(PICTURE + MADE_HERE) || image.closest(".xai-widget")) continue;
    image.classList.add(OPENS);
    image.tabIndex = 0;
    image.setAttribute("role", "button");
    image.setAttribute("aria-haspopup", "dialog");
  }
}

/**
 * Return what a caption, or what stands above all pictures, says under a label.
 * @param {Iterable<Element>} places
 * @param {string} label
 */
function told(places, label) {
  for (const place of places)
    for (const name of place.querySelectorAll("strong, summary")) {
      if (name.textContent?.trim().replace(/:$/, "") !== label) continue;
      const box = name.closest("summary")?.parentElement ?? name.parentElement;
      // What is folded is whole behind its first lines.
      const words = box?.querySelector(":scope > div bdi") ?? box?.querySelector("bdi");
      return words?.textContent ?? "";
    }
  return "";
}

/**
 * Return what the page says of a picture.
 * @param {HTMLImageElement} image
 * @returns {Picture & { url: string }}
 */
function glance(image) {
  const caption = image.parentElement?.querySelector("figcaption");
  const output = image.closest(".jp-OutputArea-output");
  const above = output?.querySelector(":scope > div > div:first-child");
  const places = [caption, above?.querySelector("img") ? null : above].filter((one) => !!one);
  const made = image.matches(MADE_HERE);
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
    prompt: told(places, "Prompt") || told(places, "Prompt as written"),
    rewritten: told(places, "Rewritten prompt"),
    facts: facts.split(" · ").filter((fact) => fact && !/^\[[\d:]+\]$/.test(fact)),
    error: Number(width) > size[0] ? "This is the preview that the notebook holds." : "",
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
function around(image) {
  /** @type {NodeListOf<HTMLImageElement>} */
  const images = (image.closest(".jp-OutputArea") ?? document).querySelectorAll(`.${OPENS}`);
  return [...images];
}

const viewer = new Viewer({
  glance,
  load: async (image) => {
    await image.decode().catch(() => {}); // what cannot be decoded is shown as far as it can
    return glance(image);
  },
  next: (image, by) => {
    const images = around(image);
    const place = images.indexOf(image);
    return place < 0 ? undefined : images[place + by];
  },
  place: (image) => {
    const images = around(image);
    return images.length > 1 ? `${images.indexOf(image) + 1} of ${images.length}` : "";
  },
});

/** @param {Event} event */
function open(event) {
  const { target } = event;
  if (!(target instanceof HTMLImageElement) || !target.classList.contains(OPENS)) return;
  event.preventDefault();
  event.stopPropagation();
  void viewer.open(target);
}

/** Watch the page for pictures, and for those who want to see them in full. */
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
  // Before the notebook, for which Enter means to edit the cell.
  const keys = new Set(["Enter", " "]);
  window.addEventListener("keydown", (event) => keys.has(event.key) && open(event), true);
}
