// The search: words, order and filters.

import { checkbox, field, h } from "../shared/elements.js";
import { counted } from "../shared/words.js";

/**
 * @typedef {[key: string, words: string]} Offer
 * @typedef {import("../messages.js").Choices} Choices
 */

const TYPING = 120; // milliseconds from a keystroke to the query
const DAY = 86400; // seconds
/** @type {Offer[]} */
const TIMES = [
  ["", "Any time"],
  ["1", "Last day"],
  ["7", "Last week"],
  ["31", "Last month"],
  ["366", "Last year"],
];
/** @type {Offer[]} */
const ORDERS = [
  ["newest", "Newest first"],
  ["cost", "Most expensive first"],
  ["model", "By model"],
];
/** @type {Offer[]} */
const BACKENDS = [
  ["", "Any server"],
  ["xai", "xAI"],
  ["local", "Local preview"],
];
const STATUSES = {
  ok: "Pictures",
  moderated: "Withheld",
  pending: "Pending",
  failed: "Failed",
  trash: "Trash",
  all: "Everything",
};

export class Search {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /**
   * @param {import("../messages.js").LibraryModel} model
   * @param {() => void} ask
   */
  constructor(model, ask) {
    this.given = model.get("filters");
    const { given } = this;
    this.words = h("input", {
      type: "search",
      placeholder: "Words of a prompt",
      value: model.get("words"),
      oninput: () => {
        clearTimeout(this.#timer);
        this.#timer = setTimeout(ask, TYPING);
      },
    });
    const select = () => h("select", { onchange: ask });
    this.order = offer(select(), ORDERS, model.get("order"));
    this.time = offer(select(), TIMES, "");
    this.backend = offer(select(), BACKENDS, given.backend ?? "");
    this.model = offer(select(), [], given.model ?? "");
    this.tag = offer(select(), [], given.tag ?? "");
    this.status = offer(select(), [], given.status);
    this.starred = checkbox("Starred", "", ask);
    this.starred.control.checked = Boolean(given.starred);
    this.notebook = checkbox("This notebook", "", ask);
    this.notebook.control.checked = given.notebook;
    const filters = [
      field("Model", this.model).element,
      field("Made", this.time).element,
      field("Tag", this.tag).element,
      field("Show", this.status).element,
      field("Made by", this.backend).element,
      h("div", { class: "xai-checks" }, this.starred.element, this.notebook.element),
    ];
    this.element = h(
      "div",
      { class: "xai-search", role: "search" },
      field("Search", this.words, { className: "xai-words" }).element,
      field("Order", this.order).element,
      model.get("visitors") ? [] : filters, // visitors have few pictures
    );
  }

  stop() {
    clearTimeout(this.#timer);
  }

  /** The filters of the query message. */
  get filters() {
    const days = Number(this.time.value);
    return {
      model: this.model.value,
      tag: this.tag.value,
      status: this.status.value,
      backend: this.backend.value,
      starred: this.starred.control.checked,
      notebook: this.notebook.control.checked,
      since: days ? Date.now() / 1000 - days * DAY : this.given.since,
      until: this.given.until,
    };
  }

  /** Whether words or filters exclude pictures. */
  get narrowed() {
    const { model, tag, backend, starred, notebook, since, until } = this.filters;
    const wanted = [this.words.value.trim(), model, tag, backend, starred, notebook, since, until];
    return wanted.some(Boolean);
  }

  /**
   * Update the choices of the filters.
   * @param {Choices} choices
   */
  offer({ models, tags, statuses }) {
    /** @param {import("../messages.js").Choice[]} list @returns {Offer[]} */
    const offers = (list) => list.map(({ name, count }) => [name, `${name} (${counted(count)})`]);
    offer(this.model, [["", "Every model"], ...offers(models)]);
    offer(this.tag, [["", "Any"], ...offers(tags)]);
    const found = new Map(statuses.map(({ name, count }) => [name, count]));
    const shown = Object.entries(STATUSES).filter(([name]) => name === "ok" || found.has(name));
    offer(
      this.status,
      shown.map(([name, text]) => [name, `${text} (${counted(found.get(name) ?? 0)})`]),
    );
  }
}

/**
 * Fill a list of choices. The selected choice stays, even if no picture has it any more.
 * @param {HTMLSelectElement} control
 * @param {Offer[]} options
 */
function offer(control, options, value = control.value) {
  const known = options.some(([key]) => key === value);
  const offers = value && !known ? [...options, /** @type {Offer} */ ([value, value])] : options;
  const key = JSON.stringify(offers);
  if (control.dataset.options !== key) {
    control.replaceChildren(...offers.map(([each, text]) => h("option", { value: each }, text)));
    control.dataset.options = key;
  }
  control.value = value;
  return control;
}
