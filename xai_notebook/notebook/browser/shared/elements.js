// @ts-nocheck
// Elements made from plain text: nothing the user, the server or a model wrote is ever HTML.

const CONTROLS = new Set(["button", "input", "pre", "select", "summary", "textarea"]);

/**
 * Make an element.
 * `on…` properties are listeners; `class`, `for`, `aria-…`, `role` and the like are attributes.
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, String(value));
  }
  // Or "d d" on a button deletes its cell. Lumino looks at the focused element before its parents.
  if (CONTROLS.has(tag)) element.setAttribute("data-lm-suppress-shortcuts", "true");
  element.append(...children.flat().filter((child) => child != null && child !== ""));
  return element;
}

/** Change a text only when it differs: screen readers and selections notice. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
  element.hidden = text === "";
}

// Every panel of a page has a module of its own, and a label finds the first id that fits.
const PANEL = Math.random().toString(36).slice(2, 8);
let identifiers = 0;
export function unique(stem) {
  identifiers += 1;
  return `xai-${PANEL}-${stem}-${identifiers}`;
}

/** A labelled field: the label above, a hint below that assistive technology reads with it. */
export function field(text, control, { className = "", hint = "" } = {}) {
  control.id ||= unique("field");
  const note = h("span", { class: "xai-hint", id: unique("hint") });
  setText(note, hint);
  control.setAttribute("aria-describedby", note.id);
  const label = h("label", { for: control.id, class: "xai-label" }, text);
  const element = h("div", { class: `xai-field ${className}` }, label, control, note);
  return { element, control, note };
}

/** A switch with its label beside it. */
export function checkbox(text, hint, onchange) {
  const control = h("input", { type: "checkbox", id: unique("switch"), onchange });
  const note = h("span", { class: "xai-hint", id: unique("hint") }, hint);
  control.setAttribute("aria-describedby", note.id);
  const label = h("label", { for: control.id }, text);
  return { control, element: h("div", { class: "xai-check" }, control, h("div", {}, label, note)) };
}

/** Keep a list's children in step with `items`: known keys stay, so focus and pictures stay. */
export function keepList(list, items, { key, make, update, empty }) {
  const known = new Map([...list.children].map((child) => [child.dataset.key, child]));
  const wanted = items.map((item) => {
    const child = known.get(item[key]) ?? make(item);
    child.dataset.key = item[key];
    known.delete(item[key]);
    update?.(child, item);
    return child;
  });
  for (const child of known.values()) {
    const focused = child.contains(document.activeElement);
    child.remove();
    if (focused) empty?.(wanted);
  }
  wanted.forEach((child, place) => {
    if (list.children[place] !== child) list.insertBefore(child, list.children[place] ?? null);
  });
  list.hidden = items.length === 0;
}

/** What this browser remembers of how a user likes it; undefined: nothing, or it may not. */
export function remembered(name) {
  try {
    return localStorage.getItem(`xai-panel-${name}`) ?? undefined;
  } catch {
    return undefined;
  }
}

export function remember(name, value) {
  try {
    localStorage.setItem(`xai-panel-${name}`, value);
  } catch {
    // A page may be without storage.
  }
}

export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Pages without TLS, such as a lab server in a local network, have no clipboard.
    const area = h("textarea", { class: "xai-unseen", "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    return copied;
  }
}
