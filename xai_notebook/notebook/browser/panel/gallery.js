// The gallery: a grid of cards, grouped by prompt. A card shows a picture, or the reason why it is missing.

import { makeGridPicture, showGridPicture } from "../shared/card.js";
import {
  button,
  h,
  keepList,
  link,
  part,
  remember,
  remembered,
  setText,
  unique,
} from "../shared/elements.js";
import { Menu } from "../shared/menu.js";
import { grouped } from "./groups.js";
import { CARD } from "./store.js";

/**
 * @typedef {import("../messages.js").Card} Card
 * @typedef {import("../messages.js").Job} Job
 * Actions on a card; the gallery does not offer missing actions.
 * @typedef {Partial<Record<Action, (card: Card) => unknown>>} Actions
 * @typedef {"save" | "edit" | "use" | "words" | "more" | "reference" | "compare" | "star" | "full"} Action
 */

const TILE = { min: 150, max: 480, initial: 200 }; // pixels of a card's width
/** The actions of a card's menu: name, label, and whether the action applies to a card.
 * @type {[Action, (card: Card) => string, (card: Card) => boolean][]} */
const MENU = [
  ["use", () => "Use all", () => true],
  ["words", () => "Use the rewritten prompt", (card) => card.written],
  ["more", () => "More like this", () => true],
  ["reference", () => "Add as reference", (card) => card.ok],
  ["star", (card) => (card.starred ? "Remove star" : "Star"), (card) => card.picture !== null],
  ["compare", () => "Compare", (card) => card.ok],
  ["full", () => "Full size", (card) => card.ok],
];

export class Gallery {
  /** @type {Map<string, Card>} */
  cards = new Map();

  /**
   * @param {import("./store.js").Store} store
   * @param {Actions} actions
   */
  constructor(store, actions) {
    this.store = store;
    this.actions = actions;
    this.menu = new Menu();
    this.list = h("div", { class: "xai-groups" });
    this.element = h("div", { class: "xai-gallery" }, this.list, this.menu.element);
    this.size = h("input", {
      type: "range",
      id: unique("size"),
      min: TILE.min,
      max: TILE.max,
      step: 10,
      value: remembered("tile") ?? TILE.initial,
      oninput: () => this.#resize(),
    });
    this.#resize();
    this.resized = new ResizeObserver(() => this.#showUnfoldLinks());
    this.resized.observe(this.element);
  }

  #resize() {
    remember("tile", this.size.value);
    this.element.style.setProperty("--xai-tile", `${this.size.value}px`);
  }

  /** Show "Show all" below each text that is cut off. */
  #showUnfoldLinks() {
    for (const text of this.element.querySelectorAll(".xai-long"))
      if (text.nextSibling instanceof HTMLElement)
        text.nextSibling.hidden = text.scrollHeight <= text.clientHeight + 1;
  }

  /**
   * Apply an action to a card in its present state.
   * @param {Action} action
   * @param {string} id
   */
  #act(action, id) {
    const card = this.cards.get(id);
    if (card) this.actions[action]?.(card);
  }

  /** Keys of the cards with pictures, in the order of the page. */
  get shown() {
    const items = /** @type {NodeListOf<HTMLElement>} */ (
      this.element.querySelectorAll(".xai-card:has(.xai-picture)")
    );
    return [...items].map((item) => item.dataset.key ?? "");
  }

  /**
   * Show running generations, then the cards in groups, both newest first.
   * @param {Card[]} cards
   * @param {Job[]} jobs
   */
  show(cards, jobs) {
    this.cards = new Map(cards.map((card) => [card.id, card]));
    /** @type {{ id: string, job?: Job, cards?: Card[] }[]} */
    const items = [
      ...jobs.filter(({ state }) => state === "running").map((job) => ({ id: job.id, job })),
      ...grouped(cards),
    ];
    keepList(this.list, items, {
      make: ({ job, cards: group }) =>
        job ? placeholders(job) : this.#group(group?.[0]?.asked ?? ""),
      update: (element, { cards: group }) => group && this.#update(element, group),
    });
    this.#showUnfoldLinks();
    this.store.previews(cards.filter((card) => card.ok).map((card) => card.id));
  }

  /** @param {string} asked */
  #group(asked) {
    const title = h("h4", { class: "xai-prompt xai-long", dir: "auto" }, asked);
    return h(
      "section",
      { class: "xai-group", "aria-label": `Pictures of: ${asked.slice(0, 80)}` },
      h("div", { class: "xai-grouphead" }, title, unfold(title, "the prompt")),
      h("ul", { class: "xai-cards", role: "list" }),
    );
  }

  /**
   * @param {HTMLElement} section
   * @param {Card[]} cards
   */
  #update(section, cards) {
    const list = part(section, "ul");
    list.setAttribute("aria-label", cards.length === 1 ? "One image" : `${cards.length} images`);
    keepList(list, cards, {
      make: (card) => this.#card(card),
      update: (element, card) => this.#refresh(element, card),
    });
  }

  /** @param {Card} card */
  #card(card) {
    const { id, ok, name } = card;
    const caption = h("figcaption", {}, rewritten(card), h("p", { class: "xai-facts" }));
    const more = button("⋯", () => this.#openMenu(more, id), {
      class: "xai-small xai-dots",
      "aria-haspopup": "menu",
      "aria-expanded": "false",
      "aria-label": `More: ${name}`,
    });
    /** @param {string} text @param {Action} action @param {boolean} [hidden] */
    const act = (text, action, hidden = false) =>
      button(text, () => this.#act(action, id), {
        "data-action": action,
        "aria-label": `${text}: ${name}`,
        hidden,
      });
    const save = this.actions.save ? [act("Save", "save")] : [];
    const buttons = ok ? [...save, act("Edit this", "edit"), act("Compare", "compare", true)] : [];
    return h(
      "li",
      {
        class: "xai-card",
        draggable: ok ? "true" : null,
        ondragstart: ({ dataTransfer }) => {
          if (!dataTransfer) return;
          dataTransfer.clearData(); // otherwise the picture is dragged as a file, too
          dataTransfer.setData(CARD, id);
          dataTransfer.effectAllowed = "copy";
        },
      },
      h("figure", {}, ok ? this.#picture(card) : failure(card), caption),
      h("div", { class: "xai-actions" }, buttons, more),
      h("p", { class: "xai-file" }),
    );
  }

  /**
   * @param {HTMLElement} opener
   * @param {string} id
   */
  #openMenu(opener, id) {
    const card = this.cards.get(id);
    if (!card) return;
    const entries = MENU.filter(([action, , fits]) => this.actions[action] && fits(card));
    /** @type {[string, () => void][]} */
    const items = entries.map(([action, label]) => [label(card), () => this.#act(action, id)]);
    this.menu.open(opener, `More: ${card.name}`, items);
  }

  /** @param {Card} card */
  #picture(card) {
    const [width = 1, height = 1] = card.size;
    const properties = {
      type: "button",
      class: "xai-picture",
      style: `aspect-ratio: ${width} / ${height}`,
      "aria-label": `Show full size: ${card.alt}`,
      onclick: () => this.#act("full", card.id),
    };
    return h("button", properties, makeGridPicture(card));
  }

  /**
   * @param {HTMLElement} element
   * @param {Card} card
   */
  #refresh(element, card) {
    if (card.ok)
      showGridPicture(part(element, ".xai-face"), card, this.store.pictures.get(card.id));
    const badge = card.replayed ? [h("span", { class: "xai-badge" }, "replayed"), " "] : [];
    const facts = card.facts.flatMap((fact) => [" · ", h("span", { class: "xai-fact" }, fact)]);
    part(element, ".xai-facts").replaceChildren(...badge, ...facts.slice(1));
    const file = part(element, ".xai-file");
    setText(file, card.trouble || (card.saved && `Saved as ${card.saved}`));
    file.title = card.saved;
    file.classList.toggle("xai-bad", Boolean(card.trouble));
  }

  /**
   * Mark the first card of a comparison, with a hint, and offer "Compare" on the others.
   * @param {string[]} chosen
   * @param {HTMLElement} hint
   */
  mark(chosen, hint) {
    const choosing = chosen.length === 1;
    this.list.classList.toggle("xai-choosing", choosing);
    if (!choosing) hint.remove();
    const items = /** @type {NodeListOf<HTMLElement>} */ (this.list.querySelectorAll(".xai-card"));
    for (const item of items) {
      const first = choosing && chosen[0] === item.dataset.key;
      item.classList.toggle("xai-chosen", first);
      if (first && hint.parentElement !== item) item.append(hint);
      const compare = item.querySelector("[data-action=compare]");
      if (compare instanceof HTMLElement) compare.hidden = !choosing || first;
    }
  }
}

/** @param {Job} job */
function placeholders({ n, shape, prompt }) {
  const style = `aspect-ratio: ${shape.replace(":", " / ")}`;
  const boxes = Array.from({ length: n }, () => h("div", { class: "xai-box", style }));
  const title = h("p", { class: "xai-prompt xai-long", dir: "auto" }, prompt);
  return h(
    "div",
    { "aria-hidden": "true" },
    h("div", { class: "xai-grouphead" }, title),
    h("div", { class: "xai-cards" }, boxes),
  );
}

/** @param {Card} card */
const failure = ({ title, error }) =>
  h("div", { class: "xai-nopicture" }, h("strong", {}, `${title}.`), ` ${error}`);

/**
 * The rewritten prompt of a card; the group's heading has the original.
 * @param {Card} card
 */
function rewritten({ written, label, prompt, name }) {
  if (!written) return [];
  const tag = h("span", { class: "xai-tag" }, label);
  const text = h("p", { class: "xai-prompt xai-long", dir: "auto" }, tag, " ", prompt);
  return [text, unfold(text, `the prompt: ${name}`)];
}

/**
 * @param {HTMLElement} text
 * @param {string} what
 */
function unfold(text, what) {
  const label = (/** @type {string} */ word) => `Show ${word} of ${what}`;
  const turn = link(
    "Show all",
    () => {
      const open = !text.classList.toggle("xai-long");
      turn.textContent = open ? "Show less" : "Show all";
      turn.setAttribute("aria-expanded", String(open));
      turn.setAttribute("aria-label", label(open ? "less" : "all"));
    },
    { "aria-expanded": "false", hidden: true, "aria-label": label("all") },
  );
  return turn;
}
