// Elements made from plain text: text of users, servers and models is never HTML.

/**
 * `on…` properties are listeners; `class`, `for`, `aria-…`, `role` and the like are attributes.
 * @typedef {{ [K in keyof HTMLElementEventMap as `on${K}`]?: (event: HTMLElementEventMap[K]) => unknown }} Listeners
 * @typedef {Listeners & { [attribute: string]: unknown }} Properties
 * @typedef {Node | string | null | undefined | (Node | string)[]} Child
 */

const CONTROLS = new Set(["button", "input", "pre", "select", "summary", "textarea"]);

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Properties} [properties]
 * @param {Child[]} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on"))
      element.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, String(value));
  }
  // Without this attribute, "d d" on a button deletes its cell: Lumino looks at the focused element first.
  if (CONTROLS.has(tag)) element.setAttribute("data-lm-suppress-shortcuts", "true");
  for (const child of children.flat()) if (child != null && child !== "") element.append(child);
  return element;
}

/**
 * @param {string} text
 * @param {(event: MouseEvent) => unknown} onclick
 * @param {Properties} [properties]
 */
export function button(text, onclick, properties = {}) {
  const { class: classes = "xai-small", ...others } = properties;
  return h("button", { type: "button", class: `xai-button ${classes}`, onclick, ...others }, text);
}

/**
 * @param {string} text
 * @param {(event: MouseEvent) => unknown} onclick
 * @param {Properties} [properties]
 */
export function link(text, onclick, properties = {}) {
  return h("button", { type: "button", class: "xai-link", onclick, ...properties }, text);
}

/**
 * A part of an element that is known to exist.
 * @param {ParentNode} element
 * @param {string} selector
 * @returns {HTMLElement}
 */
export function part(element, selector) {
  return /** @type {HTMLElement} */ (element.querySelector(selector));
}

/**
 * The focused element, in the shadow tree of an element as well: marimo shows widgets in one.
 * @param {Node} element
 */
export function activeElement(element) {
  return /** @type {Document | ShadowRoot} */ (element.getRootNode()).activeElement ?? null;
}

/**
 * Show a widget in full height: marimo puts long outputs into a scrolling box, which does not suit a form.
 * @param {HTMLElement} element
 */
export function showInFull(element) {
  const root = element.getRootNode();
  const output = root instanceof ShadowRoot && root.host.closest(".output-area");
  if (output instanceof HTMLElement) output.style.maxHeight = "none";
}

/**
 * Set a text only if it differs: a change disturbs screen readers and selections. Empty text hides the element.
 * @param {HTMLElement} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
  element.hidden = text === "";
}

// Each widget loads its own copy of this module: without a prefix, its ids would not be unique.
const WIDGET = Math.random().toString(36).slice(2, 8);
let lastIdentifier = 0;

/** @param {string} stem */
export function unique(stem) {
  lastIdentifier += 1;
  return `xai-${WIDGET}-${stem}-${lastIdentifier}`;
}

/**
 * A field with a label above and a hint below; assistive technology reads both.
 * @template {HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement} C
 * @param {string} text
 * @param {C} control
 */
export function field(text, control, { className = "", hint = "" } = {}) {
  control.id ||= unique("field");
  const note = h("span", { class: "xai-hint", id: unique("hint") });
  setText(note, hint);
  control.setAttribute("aria-describedby", note.id);
  const label = h("label", { for: control.id, class: "xai-label" }, text);
  const element = h("div", { class: `xai-field ${className}` }, label, control, note);
  return { element, control, note };
}

/**
 * A switch with its label beside it.
 * @param {string} text
 * @param {string} hint
 * @param {() => unknown} onchange
 */
export function checkbox(text, hint, onchange) {
  const control = h("input", { type: "checkbox", id: unique("switch"), onchange });
  const label = h("label", { for: control.id }, text);
  const words = h("div", {}, label);
  if (hint) {
    const note = h("span", { class: "xai-hint", id: unique("hint") }, hint);
    control.setAttribute("aria-describedby", note.id);
    words.append(note);
  }
  return { control, element: h("div", { class: "xai-check" }, control, words) };
}

/**
 * Update a list's children to `items`. Children with known keys stay, with focus and pictures.
 * @template {{ id: string }} T
 * @param {HTMLElement} list
 * @param {T[]} items
 * @param {{ make: (item: T) => HTMLElement, update?: (child: HTMLElement, item: T) => unknown,
 *   focusLost?: () => unknown }} how  `focusLost`: the focused child was removed
 */
export function keepList(list, items, { make, update, focusLost }) {
  const children = /** @type {HTMLElement[]} */ ([...list.children]);
  const known = new Map(children.map((child) => [child.dataset.key, child]));
  const wanted = items.map((item) => {
    const child = known.get(item.id) ?? make(item);
    child.dataset.key = item.id;
    known.delete(item.id);
    update?.(child, item);
    return child;
  });
  for (const child of known.values()) {
    const focused = child.contains(activeElement(child));
    child.remove();
    if (focused) focusLost?.();
  }
  for (const [index, child] of wanted.entries())
    if (list.children[index] !== child) list.insertBefore(child, list.children[index] ?? null);
  list.hidden = items.length === 0;
}

/**
 * A preference of the user that this browser stores; undefined: not set, or no storage.
 * @param {string} name
 */
export function remembered(name) {
  try {
    return localStorage.getItem(`xai-panel-${name}`) ?? undefined;
  } catch {
    return undefined;
  }
}

/**
 * @param {string} name
 * @param {string} value
 */
export function remember(name, value) {
  try {
    localStorage.setItem(`xai-panel-${name}`, value);
  } catch {
    // Pages may have no storage.
  }
}

/**
 * A button that copies a cell, and reports the result.
 * @param {string} label
 * @param {() => string} cell
 * @param {(text: string) => unknown} say
 * @param {Properties} [properties]
 * @param {string} [noun]  what is copied
 */
export function copyButton(label, cell, say, properties = {}, noun = "Cell") {
  const copy = button(
    label,
    async () => {
      const copied = await copyText(cell(), copy);
      copy.textContent = copied ? "Copied" : "Not copied";
      say(
        copied
          ? `${noun} copied to the clipboard.`
          : `Select the ${noun.toLowerCase()} and copy it.`,
      );
      setTimeout(() => {
        copy.textContent = label;
      }, 2000);
    },
    properties,
  );
  return copy;
}

/**
 * @param {string} text
 * @param {HTMLElement} opener
 */
async function copyText(text, opener) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Pages without TLS, such as a server in a local network, have no clipboard.
    const area = h("textarea", { class: "xai-unseen", "aria-hidden": "true" });
    area.value = text;
    // While a modal dialog is open, only text inside it can be selected.
    (opener.closest("dialog[open]") ?? document.body).append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    return copied;
  }
}
