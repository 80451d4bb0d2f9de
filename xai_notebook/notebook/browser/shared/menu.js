// @ts-nocheck
// A menu that a button opens, over everything else, also over what scrolls.

import { h } from "./elements.js";

export class Menu {
  constructor() {
    this.element = h("div", {
      class: "xai-menu",
      role: "menu",
      popover: "auto",
      hidden: true,
      onkeydown: (event) => this.key(event),
    });
    this.element.addEventListener(
      "toggle",
      ({ newState }) => newState === "closed" && this.closed(),
    );
  }

  /** `items` are pairs of words and what they do. */
  open(opener, label, items) {
    this.opener = opener;
    this.element.setAttribute("aria-label", label);
    this.element.replaceChildren(
      ...items.map(([text, act]) =>
        h(
          "button",
          {
            type: "button",
            role: "menuitem",
            tabindex: "-1",
            class: "xai-menuitem",
            onclick: () => {
              this.close();
              act();
            },
          },
          text,
        ),
      ),
    );
    this.element.hidden = false;
    this.element.showPopover?.();
    opener.setAttribute("aria-expanded", "true");
    this.place();
    this.element.firstChild.focus();
  }

  /** Below its button, or above where there is more room. */
  place() {
    const { left, top, bottom } = this.opener.getBoundingClientRect();
    const { offsetWidth, offsetHeight } = this.element;
    const above = bottom + offsetHeight > innerHeight && top > offsetHeight;
    this.element.style.top = `${above ? top - offsetHeight - 4 : bottom + 4}px`;
    this.element.style.left = `${Math.max(4, Math.min(left, innerWidth - offsetWidth - 8))}px`;
  }

  close() {
    const inside = this.element.contains(document.activeElement);
    if (this.element.matches(":popover-open")) this.element.hidePopover();
    this.closed();
    if (inside) this.opener.focus();
  }

  closed() {
    this.element.hidden = true;
    this.opener?.setAttribute("aria-expanded", "false");
  }

  key(event) {
    const items = [...this.element.children];
    const at = items.indexOf(document.activeElement);
    const to = {
      ArrowDown: at + 1,
      ArrowUp: at - 1 + items.length,
      Home: 0,
      End: items.length - 1,
    }[event.key];
    if (to !== undefined) items[to % items.length].focus();
    else if (event.key === "Escape" || event.key === "Tab") this.close();
    else return;
    event.preventDefault();
    event.stopPropagation(); // Escape leaves the cell otherwise
  }
}
