// @ts-nocheck
// The library: search, filters, what is chosen and what is done with it.

import { field, h, setText, unique } from "../shared/elements.js";
import { Grid } from "./grid.js";
import { LibraryViewer } from "./viewer.js";

const TYPING = 120; // milliseconds after a keystroke before the kernel is asked

const NUMBER = new Intl.NumberFormat();

/** Bytes in words. */
function sizeOf(bytes) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let place = 0;
  while (bytes >= 1000 && place < units.length - 1) {
    bytes /= 1000;
    place += 1;
  }
  return `${bytes >= 10 || place === 0 ? Math.round(bytes) : bytes.toFixed(1)} ${units[place]}`;
}

export class LibraryView {
  constructor(model, store) {
    this.model = model;
    this.store = store;
    this.chosen = [];
    this.grid = new Grid(store, {
      open: (position) => this.open(position),
      chosen: (ids) => this.choose(ids),
      act: (name) => this.act(name),
    });
    this.viewer = new LibraryViewer(store, {
      step: (by) => this.walk(by),
      act: (...what) => this.act(...what),
    });
    this.makeSearch();
    this.makeActions();
    this.alert = h("p", { class: "xai-alert", role: "alert", hidden: true });
    this.empty = h("p", { class: "xai-quiet xai-nothing", hidden: true });
    this.element = h(
      "section",
      { class: "xai-panel xai-library", "aria-label": "xAI image library" },
      h(
        "header",
        { class: "xai-row xai-between" },
        h("h2", { class: "xai-title" }, "Your pictures"),
        this.total,
      ),
      this.search,
      this.alert,
      this.grid.element,
      this.empty,
      this.actions,
      this.said,
      this.viewer.element,
    );
  }

  makeSearch() {
    const filters = this.model.get("filters");
    this.total = h("span", { class: "xai-chip", role: "status" });
    this.words = h("input", {
      type: "search",
      placeholder: "Words of a prompt",
      value: this.model.get("words"),
      oninput: () => this.type(),
    });
    this.selects = {};
    const select = (name, label, options, value) => {
      const control = h("select", { onchange: () => this.query() });
      this.selects[name] = control;
      this.offer(name, options, value ?? "");
      return field(label, control).element;
    };
    const check = (name, label, value) => {
      const control = h("input", {
        type: "checkbox",
        id: unique("switch"),
        onchange: () => this.query(),
      });
      control.checked = Boolean(value);
      this[name] = control;
      return h("div", { class: "xai-check" }, control, h("label", { for: control.id }, label));
    };
    const times = [
      ["", "Any time"],
      ["1", "Last day"],
      ["7", "Last week"],
      ["31", "Last month"],
      ["366", "Last year"],
    ];
    this.search = h(
      "div",
      { class: "xai-search" },
      field("Search", this.words, { className: "xai-words" }).element,
      select(
        "order",
        "Order",
        [
          ["newest", "Newest first"],
          ["cost", "Dearest first"],
          ["model", "By model"],
        ],
        this.model.get("order"),
      ),
      select("model", "Model", [["", "Every model"]], filters.model),
      select("time", "Made", times, ""),
      select("tag", "Tag", [["", "Any"]], filters.tag),
      select("status", "Show", [["ok", "Pictures"]], filters.status),
      select(
        "backend",
        "Made by",
        [
          ["", "Everyone"],
          ["xai", "xAI"],
          ["local", "Local preview"],
        ],
        filters.backend,
      ),
      h(
        "div",
        { class: "xai-checks" },
        check("starred", "Starred", filters.starred),
        check("notebook", "This notebook", filters.notebook),
      ),
    );
  }

  makeActions() {
    const button = (label, onclick) =>
      h(
        "button",
        { type: "button", class: "xai-button xai-small", onclick, disabled: true },
        label,
      );
    this.count = h("span", { class: "xai-quiet", role: "status" }, "Nothing is chosen");
    this.tagField = h("input", {
      type: "text",
      "aria-label": "Tag",
      placeholder: "tag",
      maxlength: 60,
      size: 9,
      onkeydown: (event) => event.key === "Enter" && this.tag(true),
    });
    this.nameField = h("input", {
      type: "text",
      "aria-label": "Name of the variable",
      placeholder: "name",
      size: 9,
      spellcheck: "false",
      onkeydown: (event) => event.key === "Enter" && this.use(),
    });
    const groups = {
      view: button("Open", () => this.viewer.show(this.chosen[0])),
      star: button("Star", () => this.act("star")),
      unstar: button("No star", () => this.act("star", this.chosen, { value: false })),
      tag: button("Tag", () => this.tag(true)),
      untag: button("Untag", () => this.tag(false)),
      compare: button("Compare", () => this.viewer.compare(...this.chosen)),
      edit: button("Edit in a panel", () => this.act("edit")),
      export: button("Export", () => this.act("export")),
      sheet: button("Contact sheet", () => this.act("sheet")),
      use: button("Use as variable", () => this.use()),
      delete: button("Delete", () => this.act("delete")),
      restore: button("Bring back", () => this.act("restore")),
    };
    this.buttons = groups;
    this.undo = h(
      "button",
      {
        type: "button",
        class: "xai-button xai-small",
        hidden: true,
        onclick: () => this.bringBack(),
      },
      "Undo",
    );
    this.message = h("span", { class: "xai-quiet", role: "status" });
    const { view, star, unstar, tag, untag, compare, edit, sheet, use, restore } = groups;
    this.actions = h(
      "div",
      {
        class: "xai-row xai-actions",
        role: "group",
        "aria-label": "What to do with the chosen pictures",
      },
      this.count,
      view,
      compare,
      star,
      unstar,
      this.tagField,
      tag,
      untag,
      edit,
      groups.export,
      sheet,
      this.nameField,
      use,
      groups.delete,
      restore,
    );
    this.said = h("div", { class: "xai-row xai-said" }, this.message, this.undo);
  }

  /** Fill a list of choices; the chosen one stays, even when nothing has it any more. */
  offer(name, options, value = this.selects[name].value) {
    const control = this.selects[name];
    if (value && !options.some(([key]) => key === value)) options = [...options, [value, value]];
    const key = JSON.stringify(options);
    if (control.dataset.options !== key) {
      control.replaceChildren(...options.map(([each, text]) => h("option", { value: each }, text)));
      control.dataset.options = key;
    }
    control.value = value;
  }

  start() {
    const stop = this.grid.start();
    const changed = () => this.follow();
    this.store.addEventListener("changed", changed);
    this.query();
    return () => {
      stop();
      clearTimeout(this.timer);
      clearTimeout(this.behind);
      this.store.removeEventListener("changed", changed);
    };
  }

  type() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.query(), TYPING);
  }

  async query({ keep = false } = {}) {
    clearTimeout(this.timer);
    const { order, model, time, tag, status, backend } = this.selects;
    const since = time.value
      ? Date.now() / 1000 - Number(time.value) * 86400
      : this.model.get("filters").since;
    const filters = {
      model: model.value,
      tag: tag.value,
      status: status.value,
      backend: backend.value,
      starred: this.starred.checked,
      notebook: this.notebook.checked,
      since,
      until: this.model.get("filters").until,
    };
    try {
      const result = await this.store.query(this.words.value, order.value, filters);
      if (result) this.show(result, keep);
    } catch (error) {
      setText(this.alert, error.message);
    }
  }

  show(result, keep) {
    setText(this.alert, "");
    const noun = result.count === 1 ? "picture" : "pictures";
    this.total.textContent = `${NUMBER.format(result.count)} ${noun}, ${sizeOf(result.bytes)}`;
    const counted = (list) =>
      list.map(({ name, count }) => [name, `${name} (${NUMBER.format(count)})`]);
    this.offer("model", [["", "Every model"], ...counted(result.models)]);
    this.offer("tag", [["", "Any"], ...counted(result.tags)]);
    const names = {
      ok: "Pictures",
      moderated: "Withheld",
      pending: "On their way",
      failed: "Failed",
      trash: "Trash",
      all: "Everything",
    };
    const found = new Map(result.statuses.map(({ name, count }) => [name, count]));
    this.offer(
      "status",
      Object.entries(names)
        .filter(([name]) => name === "ok" || found.has(name))
        .map(([name, text]) => [name, `${text} (${NUMBER.format(found.get(name) ?? 0)})`]),
    );
    const searched =
      this.words.value.trim() ||
      this.selects.model.value ||
      this.selects.tag.value ||
      this.starred.checked;
    setText(
      this.empty,
      result.count
        ? ""
        : searched
          ? "No picture fits. Take words or filters away."
          : "There is nothing here yet. What you make with %xai_image will appear here.",
    );
    this.grid.element.hidden = result.count === 0;
    this.grid.reset({ keep });
    this.enable();
  }

  /** Something was said of pictures, here or elsewhere. */
  follow() {
    for (const rows of this.store.pages.values()) for (const row of rows) this.viewer.changed(row);
    this.grid.later();
    clearTimeout(this.behind);
    this.behind = setTimeout(() => this.query({ keep: true }), TYPING);
  }

  choose(ids) {
    this.chosen = ids;
    this.store.ask({ type: "select", ids }).catch(() => {});
    this.store.waiting.delete(this.store.number); // nothing comes back
    this.enable();
  }

  enable() {
    const count = this.chosen.length;
    const trash = this.selects.status.value === "trash";
    setText(this.count, count ? `${NUMBER.format(count)} chosen` : "Nothing is chosen");
    for (const button of Object.values(this.buttons)) button.disabled = count === 0;
    for (const name of ["view", "edit"]) this.buttons[name].disabled = count !== 1;
    this.buttons.compare.disabled = count !== 2;
    this.buttons.delete.hidden = trash;
    this.buttons.restore.hidden = !trash;
  }

  async act(name, ids = this.chosen, more = {}) {
    if (ids.length === 0) return;
    try {
      const { said } = await this.store.ask({ type: name, ids, id: ids[0], ...more });
      this.say(said);
      if (name === "delete" || name === "restore") {
        this.deleted = name === "delete" ? ids : [];
        this.grid.select([]);
      }
      this.undo.hidden = name !== "delete";
    } catch (error) {
      this.say(error.message);
    }
  }

  async bringBack() {
    await this.act("restore", this.deleted);
    this.grid.element.focus();
  }

  tag(value) {
    const tag = this.tagField.value.trim();
    if (tag) this.act("tag", this.chosen, { tag, value });
    else this.tagField.focus();
  }

  use() {
    const name = this.nameField.value.trim();
    if (name) this.act("use", this.chosen, { name });
    else this.nameField.focus();
  }

  say(text) {
    this.message.textContent = text;
    if (this.viewer.element.open) setText(this.viewer.note, text);
  }

  async open(position) {
    const [id] = await this.store.range(position, position);
    if (id === undefined) return;
    this.grid.current = position;
    this.viewer.show(id);
  }

  async walk(by) {
    const position = Math.max(0, Math.min(this.store.count - 1, this.grid.current + by));
    const [id] = await this.store.range(position, position);
    if (id === undefined) return;
    this.grid.current = this.grid.anchor = position;
    this.grid.show(position);
    this.viewer.show(id);
  }
}
