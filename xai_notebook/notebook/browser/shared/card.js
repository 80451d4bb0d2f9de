// The face of a picture in a grid: the picture, its star, and what stands there until it comes.

import { h, part } from "./elements.js";

/**
 * @param {import("../messages.js").Face} face
 * @returns {HTMLElement}
 */
export function makeFace({ alt, size: [width = 1, height = 1] }) {
  return h(
    "span",
    { class: "xai-face" },
    h("img", { alt, width, height, draggable: "false", hidden: true }),
    h("span", { class: "xai-star", "aria-hidden": "true", hidden: true }, "★"),
  );
}

/**
 * Show what has come, and what was said of it.
 * @param {HTMLElement} face
 * @param {{ starred?: boolean }} card
 * @param {string} [url]
 */
export function showFace(face, { starred }, url) {
  const image = /** @type {HTMLImageElement} */ (part(face, "img"));
  if (url && image.getAttribute("src") !== url) image.src = url;
  if (!url) image.removeAttribute("src"); // or it shows the last one's until it has the next
  image.hidden = !url;
  part(face, ".xai-star").hidden = !starred;
}
