// The text beside a picture: prompt, facts, tags, the cell that made it, and its relatives.

import { button, copyButton, h, link, unique } from "./elements.js";

/** @typedef {import("../messages.js").Picture} Picture */

/**
 * @param {Partial<Picture> & { prompt: string }} picture
 * @param {object} options
 * @param {(text: string) => unknown} options.say
 * @param {string} [options.side]  heading, if two pictures are compared
 * @param {(tag: string, value: boolean) => unknown} [options.tag]
 * @param {boolean} options.cells  see `Viewer`
 */
export function about(picture, { say, side, tag, cells }) {
  const { prompt, rewritten, facts = [], created, inputs = [], tags = [], cell, lineage } = picture;
  const date = created ? [new Date(created * 1000).toLocaleString(undefined, WHEN)] : [];
  const sections = rewritten
    ? [
        section("Rewritten prompt", promptText(rewritten)),
        section("Prompt as written", promptText(prompt)),
      ]
    : [section("Prompt", promptText(prompt))];
  const noun = cells ? "Cell" : "Call";
  const list = { class: "xai-factlist", role: "list", "aria-label": "Facts" };
  sections.push(
    h(
      "ul",
      list,
      [...facts, ...date].map((fact) => h("li", {}, fact)),
    ),
  );
  if (side) return [h("h3", { class: "xai-side" }, side), ...sections];
  if (inputs.length && !lineage?.ancestors.length)
    sections.push(section("Made from", h("p", {}, inputs.join(", "))));
  if (tag) sections.push(tagList(tags, tag));
  if (cell)
    sections.push(
      section(
        `The ${noun.toLowerCase()} that made it`,
        cellBlock(cell),
        copyButton(`Copy the ${noun.toLowerCase()}`, () => cell, say, {}, noun),
      ),
    );
  return sections;
}

/** @type {Intl.DateTimeFormatOptions} */
const WHEN = { dateStyle: "medium", timeStyle: "short" };

/**
 * @param {string} title
 * @param {Node[]} content
 * @returns {HTMLElement}
 */
const section = (title, ...content) =>
  h("section", {}, h("h3", { class: "xai-title xai-quiet" }, title), content);

/** @param {string} text */
const promptText = (text) => h("p", { class: "xai-prompt", dir: "auto" }, text || "No prompt");

/** @param {string} cell */
const cellBlock = (cell) =>
  h(
    "pre",
    { class: "xai-cell", tabindex: 0, role: "group", "aria-label": "Source" },
    h("code", {}, cell),
  );

/**
 * @param {string[]} tags
 * @param {(tag: string, value: boolean) => unknown} change
 */
function tagList(tags, change) {
  const add = () => {
    const word = field.value.trim();
    if (word) change(word, true);
    field.value = "";
  };
  const field = h("input", {
    type: "text",
    id: unique("tag"),
    "aria-label": "Add a tag",
    placeholder: "Add a tag",
    maxlength: 60,
    size: 10,
    onkeydown: (event) => event.key === "Enter" && add(),
  });
  const chips = tags.map((word) =>
    h(
      "span",
      { class: "xai-chip" },
      word,
      " ",
      link("×", () => change(word, false), { "aria-label": `Remove the tag ${word}` }),
    ),
  );
  return section("Tags", h("div", { class: "xai-row xai-tags" }, chips, field, button("Add", add)));
}

/**
 * The lineage of a picture as a strip: its ancestors, itself, its descendants.
 * @param {Picture} picture
 * @param {{ show: (id: number) => void, thumbnail: (id: number) => Promise<string> }} actions
 */
export function lineageOf({ id, lineage: { ancestors, descendants } }, { show, thumbnail }) {
  const relatives = [...ancestors, ...(id === null ? [] : [id]), ...descendants];
  if (relatives.length < 2) return [];
  return relatives.map((each, index) => {
    const role =
      each === id ? "This picture" : index < ancestors.length ? "Source" : "Edit of this picture";
    const image = h("img", { alt: "", hidden: true });
    thumbnail(each).then((url) => {
      image.src = url;
      image.hidden = !url;
    });
    const properties = {
      class: "xai-link xai-kin",
      "aria-label": `${role}, ${index + 1} of ${relatives.length}`,
      "aria-current": each === id ? "true" : null,
    };
    const caption = h("span", { class: "xai-quiet" }, each === id ? "This picture" : role);
    const entry = link("", () => show(each), properties);
    entry.append(image, caption);
    return h("li", {}, entry);
  });
}
