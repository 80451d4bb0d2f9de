// A menu that a button opens, above everything else, scrolling containers included.

import { activeElement, h } from "./elements.js";

export class Menu {
  /** @type {HTMLElement | undefined} */
  #opener;

  constructor() {
    this.element = h("div", {
      class: "xai-menu",
      role: "menu",
      popover: "auto",
      hidden: true,
      onkeydown: (event) => this.key(event),
    });
    this.element.addEventListener("toggle", (event) => {
      if (/** @type {ToggleEvent} */ (event).newState === "closed") this.closed();
    });
  }

  /**
   * @param {HTMLElement} opener
   * @param {string} label
   * @param {[words: string, act: () => unknown][]} items
   */
  open(opener, label, items) {
    this.#opener = opener;
    this.element.setAttribute("aria-label", label);
    const buttons = items.map(([text, act]) => {
      const onclick = () => {
        this.close();
        act();
      };
      const properties = { type: "button", role: "menuitem", tabindex: "-1", onclick };
      return h("button", { class: "xai-menuitem", ...properties }, text);
    });
    this.element.replaceChildren(...buttons);
    this.element.hidden = false;
    this.element.showPopover?.();
    opener.setAttribute("aria-expanded", "true");
    this.#moveTo(opener);
    buttons[0]?.focus();
  }

  /**
   * Move below the button, or above it where there is more room.
   * @param {HTMLElement} opener
   */
  #moveTo(opener) {
    const { left, top, bottom } = opener.getBoundingClientRect();
    const { offsetWidth, offsetHeight } = this.element;
    const above = bottom + offsetHeight > innerHeight && top > offsetHeight;
    this.element.style.top = `${above ? top - offsetHeight - 4 : bottom + 4}px`;
    this.element.style.left = `${Math.max(4, Math.min(left, innerWidth - offsetWidth - 8))}px`;
  }

  close() {
    const inside = this.element.contains(activeElement(this.element));
    if (this.element.matches(":popover-open")) this.element.hidePopover();
    this.closed();
    if (inside) this.#opener?.focus();
  }

  closed() {
    this.element.hidden = true;
    this.#opener?.setAttribute("aria-expanded", "false");
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const items = /** @type {HTMLElement[]} */ ([...this.element.children]);
    const at = items.indexOf(/** @type {HTMLElement} */ (activeElement(this.element)));
    /** @type {Record<string, number>} */
    const moves = {
      ArrowDown: at + 1,
      ArrowUp: at - 1 + items.length,
      Home: 0,
      End: items.length - 1,
    };
    const to = moves[event.key];
    if (to !== undefined) items[to % items.length]?.focus();
    else if (event.key === "Escape" || event.key === "Tab") this.close();
    else return;
    event.preventDefault();
    event.stopPropagation(); // otherwise Escape leaves the cell
  }
}
