// A picture in a grid, with its star; the alternative text is shown until the picture is loaded.

import { h, part } from "./elements.js";

/**
 * @param {import("../messages.js").GridPicture} picture
 * @returns {HTMLElement}
 */
export function makeGridPicture({ alt, size: [width = 1, height = 1] }) {
  return h(
    "span",
    { class: "xai-face" },
    h("img", { alt, width, height, draggable: "false", hidden: true }),
    h("span", { class: "xai-star", "aria-hidden": "true", hidden: true }, "★"),
  );
}

/**
 * Show a picture that has been loaded, and its star.
 * @param {HTMLElement} element
 * @param {{ starred?: boolean }} card
 * @param {string} [url]
 */
export function showGridPicture(element, { starred }, url) {
  const image = /** @type {HTMLImageElement} */ (part(element, "img"));
  if (url && image.getAttribute("src") !== url) image.src = url;
  if (!url) image.removeAttribute("src"); // otherwise the last picture stays until the next one is loaded
  image.hidden = !url;
  part(element, ".xai-star").hidden = !starred;
}
