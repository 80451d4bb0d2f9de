// @ts-nocheck
// The gallery: one dense grid, in groups by prompt; a card for each picture, or for why there is none.

import { h, keepList, remember, remembered, setText, unique } from "../shared/elements.js";
import { Menu } from "../shared/menu.js";
import { CARD } from "./store.js";

const TILE = { least: 110, most: 480, usual: 200 }; // pixels of a card's width
/** What else can be done with a card: its name, its words, and of which cards. */
const MORE = [
  ["use", "Use all", () => true],
  ["words", "Use the rewritten words", (card) => Boolean(card.written)],
  ["more", "More like this", () => true],
  ["reference", "Add as reference", (card) => card.ok],
  ["compare", "Compare", (card) => card.ok],
  ["full", "Full size", (card) => card.ok],
];

export class Gallery {
  /** `actions` are called with a card: save, edit, and those of `MORE`. */
  constructor(store, actions) {
    this.store = store;
    this.actions = actions;
    this.cards = new Map();
    this.menu = new Menu();
    this.list = h("div", { class: "xai-groups" });
    this.element = h("div", { class: "xai-gallery" }, this.list, this.menu.element);
    this.size = h("input", {
      type: "range",
      id: unique("size"),
      min: TILE.least,
      max: TILE.most,
      step: 10,
      value: remembered("tile") ?? TILE.usual,
      oninput: () => this.resize(),
    });
    this.resize();
    this.resized = new ResizeObserver(() => this.fold());
    this.resized.observe(this.element);
  }

  resize() {
    remember("tile", this.size.value);
    this.element.style.setProperty("--xai-tile", `${this.size.value}px`);
  }

  /** Offer to show all of a text where not all of it is shown. */
  fold() {
    for (const text of this.element.querySelectorAll(".xai-long"))
      text.nextSibling.hidden = text.scrollHeight <= text.clientHeight + 1;
  }

  /** The prompt used last first, of each the newest pictures first; what is being made stands on top. */
  show(cards, jobs) {
    this.cards = new Map(cards.map((card) => [card.id, card]));
    const groups = new Map();
    for (const card of cards) {
      const group = groups.get(card.asked) ?? [];
      groups.delete(card.asked); // so that it comes last
      groups.set(card.asked, [...group, card]);
    }
    const running = jobs
      .filter((job) => job.state === "running")
      .map((job) => ({ id: job.id, job }));
    const shown = [...groups.values()]
      .reverse()
      .map((group) => ({ id: `group ${group[0].id}`, cards: newestFirst(group) }));
    keepList(this.list, [...running, ...shown], {
      key: "id",
      make: (item) => (item.job ? this.placeholders(item.job) : this.group(item.cards[0])),
      update: (element, item) => item.job || this.update(element, item.cards),
    });
    this.fold();
    this.store.need(cards.filter((card) => card.ok).map((card) => card.id));
  }

  placeholders({ n, shape }) {
    const [width, height] = shape.split(":");
    const boxes = Array.from({ length: n }, () =>
      h("div", { class: "xai-box", style: `aspect-ratio: ${width} / ${height}` }),
    );
    return h("div", { class: "xai-cards", "aria-hidden": "true" }, boxes);
  }

  group({ asked }) {
    const title = h("h4", { class: "xai-prompt xai-long", dir: "auto" }, asked);
    return h(
      "section",
      { class: "xai-group", "aria-label": `Pictures of: ${asked.slice(0, 80)}` },
      h("div", { class: "xai-grouphead" }, title, this.unfold(title, "the prompt")),
      h("ul", { class: "xai-cards", role: "list" }),
    );
  }

  update(section, cards) {
    const list = section.querySelector("ul");
    list.setAttribute("aria-label", cards.length === 1 ? "One image" : `${cards.length} images`);
    keepList(list, cards, {
      key: "id",
      make: (card) => this.card(card),
      update: (element, card) => this.refresh(element, card),
    });
  }

  card(card) {
    const figure = h(
      "figure",
      {},
      card.ok ? this.picture(card) : this.failure(card),
      h(
        "figcaption",
        {},
        this.caption(card),
        h("p", { class: "xai-facts" }),
        h("p", { class: "xai-file" }),
      ),
    );
    const more = h(
      "button",
      {
        type: "button",
        class: "xai-button xai-small xai-dots",
        "aria-haspopup": "menu",
        "aria-expanded": "false",
        "aria-label": `More: ${card.name}`,
        onclick: () => this.choose(more, card.id),
      },
      "⋯",
    );
    const buttons = card.ok
      ? [
          this.button(card, "Save", "save"),
          this.button(card, "Edit this", "edit"),
          this.button(card, "Compare", "compare", { hidden: true }),
        ]
      : [];
    return h(
      "li",
      {
        class: "xai-card",
        draggable: card.ok ? "true" : null,
        ondragstart: (event) => {
          event.dataTransfer.clearData(); // or the picture comes as a file, too
          event.dataTransfer.setData(CARD, card.id);
          event.dataTransfer.effectAllowed = "copy";
        },
      },
      figure,
      h("div", { class: "xai-actions" }, buttons, more),
    );
  }

  choose(opener, id) {
    const card = this.cards.get(id);
    const items = MORE.filter(([, , fits]) => fits(card)).map(([action, text]) => [
      text,
      () => this.actions[action](this.cards.get(id)),
    ]);
    this.menu.open(opener, `More: ${card.name}`, items);
  }

  picture(card) {
    const [width, height] = card.size.length ? card.size : [1, 1];
    const image = h("img", { alt: card.alt, width, height, draggable: "false" });
    return h(
      "button",
      {
        type: "button",
        class: "xai-picture",
        style: `aspect-ratio: ${width} / ${height}`,
        "aria-label": `Show full size: ${card.alt}`,
        onclick: () => this.actions.full(this.cards.get(card.id)),
      },
      image,
    );
  }

  failure(card) {
    return h(
      "div",
      { class: "xai-nopicture" },
      h("strong", {}, `${card.title}.`),
      ` ${card.error}`,
    );
  }

  /** The prompt stands over the group: here, what was made of it. */
  caption(card) {
    if (!card.written) return [];
    const text = h(
      "p",
      { class: "xai-prompt xai-long", dir: "auto" },
      h("span", { class: "xai-tag" }, card.label),
      " ",
      card.prompt,
    );
    return [text, this.unfold(text, `the prompt: ${card.name}`)];
  }

  unfold(text, what) {
    const label = (word) => `Show ${word} of ${what}`;
    return h(
      "button",
      {
        type: "button",
        class: "xai-link",
        "aria-expanded": "false",
        hidden: true,
        "aria-label": label("all"),
        onclick: ({ currentTarget }) => {
          const open = !text.classList.toggle("xai-long");
          currentTarget.textContent = open ? "Show less" : "Show all";
          currentTarget.setAttribute("aria-expanded", String(open));
          currentTarget.setAttribute("aria-label", label(open ? "less" : "all"));
        },
      },
      "Show all",
    );
  }

  button(card, text, action, attributes = {}) {
    return h(
      "button",
      {
        type: "button",
        class: "xai-button xai-small",
        "data-action": action,
        "aria-label": `${text}: ${card.name}`,
        ...attributes,
        onclick: () => this.actions[action](this.cards.get(card.id)),
      },
      text,
    );
  }

  refresh(element, card) {
    const image = element.querySelector(".xai-picture img");
    const url = this.store.pictures.get(card.id);
    if (image && url && image.src !== url) image.src = url;
    const badge = card.replayed ? [h("span", { class: "xai-badge" }, "replayed"), " "] : [];
    element.querySelector(".xai-facts").replaceChildren(...badge, card.facts.join(" · "));
    const file = element.querySelector(".xai-file");
    setText(file, card.trouble || (card.saved && `Saved as ${card.saved}`));
    file.classList.toggle("xai-bad", Boolean(card.trouble));
  }

  /** Mark the card chosen for a comparison, with a hint on it: every other one can be the second. */
  mark(chosen, hint) {
    const choosing = chosen.length === 1;
    this.list.classList.toggle("xai-choosing", choosing);
    if (!choosing) hint.remove();
    for (const button of this.element.querySelectorAll("[data-action=compare]")) {
      const card = button.closest("li");
      const first = choosing && chosen[0] === card.dataset.key;
      button.hidden = !choosing || first;
      card.classList.toggle("xai-chosen", first);
      if (first && hint.parentElement !== card) card.append(hint);
    }
  }
}

/** Of what was made together, in order; what was made later stands before it. */
function newestFirst(cards) {
  const groups = [...new Set(cards.map((card) => card.group))].reverse();
  return groups.flatMap((group) => cards.filter((card) => card.group === group));
}
