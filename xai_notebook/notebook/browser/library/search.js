// The search: words, order and filters.

import { checkbox, field, h } from "../shared/elements.js";
import { counted } from "../shared/words.js";

/**
 * @typedef {[value: string, label: string]} Entry
 * @typedef {import("../messages.js").Choices} Choices
 */

const TYPING_PAUSE = 120; // milliseconds from a keystroke to the query
const DAY = 86400; // seconds
/** @type {Entry[]} */
const TIMES = [
  ["", "Any time"],
  ["1", "Last day"],
  ["7", "Last week"],
  ["31", "Last month"],
  ["366", "Last year"],
];
/** @type {Entry[]} */
const ORDERS = [
  ["newest", "Newest first"],
  ["cost", "Most expensive first"],
  ["model", "By model"],
];
/** @type {Entry[]} */
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
   * @param {() => void} query
   */
  constructor(model, query) {
    this.initial = model.get("filters");
    const { initial } = this;
    this.words = h("input", {
      type: "search",
      placeholder: "Words of a prompt",
      value: model.get("words"),
      oninput: () => {
        clearTimeout(this.#timer);
        this.#timer = setTimeout(query, TYPING_PAUSE);
      },
    });
    const select = () => h("select", { onchange: query });
    this.order = fillSelect(select(), ORDERS, model.get("order"));
    this.time = fillSelect(select(), TIMES, "");
    this.backend = fillSelect(select(), BACKENDS, initial.backend ?? "");
    this.model = fillSelect(select(), [], initial.model ?? "");
    this.tag = fillSelect(select(), [], initial.tag ?? "");
    this.status = fillSelect(select(), [], initial.status);
    this.starred = checkbox("Starred", "", query);
    this.starred.control.checked = Boolean(initial.starred);
    this.notebook = checkbox("This notebook", "", query);
    this.notebook.control.checked = initial.notebook;
    const filters = [
      field("Model", this.model).element,
      field("Made", this.time).element,
      field("Tag", this.tag).element,
      field("Show", this.status).element,
      field("Made by", this.backend).element,
      h(
        "div",
        { class: "xai-checks" },
        this.starred.element,
        model.get("cells") ? this.notebook.element : null, // elsewhere, notebooks have no known name
      ),
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
      since: days ? Date.now() / 1000 - days * DAY : this.initial.since,
      until: this.initial.until,
    };
  }

  /** Whether words or filters exclude pictures; the status does not count as a filter. */
  get narrowed() {
    const { model, tag, backend, starred, notebook, since, until } = this.filters;
    const wanted = [this.words.value.trim(), model, tag, backend, starred, notebook, since, until];
    return wanted.some(Boolean);
  }

  /**
   * Update the choices of the filters.
   * @param {Choices} choices
   */
  updateChoices({ models, tags, statuses }) {
    /** @param {import("../messages.js").Choice[]} list @returns {Entry[]} */
    const entries = (list) => list.map(({ name, count }) => [name, `${name} (${counted(count)})`]);
    fillSelect(this.model, [["", "Every model"], ...entries(models)]);
    fillSelect(this.tag, [["", "Any"], ...entries(tags)]);
    const found = new Map(statuses.map(({ name, count }) => [name, count]));
    const shown = Object.entries(STATUSES).filter(([name]) => name === "ok" || found.has(name));
    fillSelect(
      this.status,
      shown.map(([name, text]) => [name, `${text} (${counted(found.get(name) ?? 0)})`]),
    );
  }
}

/**
 * Fill a list of choices. The selected value stays in the list, even if no picture has this value any more.
 * @param {HTMLSelectElement} control
 * @param {Entry[]} options
 */
function fillSelect(control, options, value = control.value) {
  const known = options.some(([key]) => key === value);
  const entries = value && !known ? [...options, /** @type {Entry} */ ([value, value])] : options;
  const key = JSON.stringify(entries);
  if (control.dataset.options !== key) {
    control.replaceChildren(...entries.map(([each, text]) => h("option", { value: each }, text)));
    control.dataset.options = key;
  }
  control.value = value;
  return control;
}
