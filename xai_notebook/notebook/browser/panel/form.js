// @ts-nocheck
// The form: fields, pictures to edit, and the values they stand for.

import { checkbox, field, h, keepList, setText, unique } from "../shared/elements.js";

/** A choice in words: of two sides, how they lie. */
const described = (choice) => {
  const [width, height] = choice.split(":").map(Number);
  if (height === undefined) return choice;
  const lies = width > height ? "landscape" : width < height ? "portrait" : "square";
  return `${choice} ${lies}`;
};
/** As the kernel writes it: cents, and what is less only below a dollar. */
const dollars = (price) =>
  `$${price >= 1 || Math.abs(price - price.toFixed(2)) < 1e-6 ? price.toFixed(2) : price.toFixed(4).replace(/0+$/, "")}`;
const priceOf = (model) =>
  model.price == null ? "" : model.price === 0 ? "free" : `${dollars(model.price)} an image`;

const HINT =
  "Ctrl+Enter generates. {{ name }} takes a variable. ↑ brings back what was asked before.";

export class Form {
  constructor(model, store, { onchange, generate }) {
    this.model = model;
    this.store = store;
    this.onchange = onchange;
    this.values = structuredClone(model.get("form"));
    this.choices = model.get("choices");
    const changed = () => this.read();
    this.makeFields(changed);
    this.makeInputs();
    const submit = (event) => {
      event.preventDefault();
      generate();
    };
    this.element = h(
      "form",
      { class: "xai-form", onsubmit: submit },
      h("div", { class: "xai-main" }, this.prompt.element, this.inputs, this.rewrite.element),
      h("div", { class: "xai-options" }, this.optionsGrid()),
    );
    this.element.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        generate();
      } else if (event.key === "Enter" && event.target.matches("input:not([type=checkbox])")) {
        event.preventDefault(); // one line is no reason to spend money
      }
    });
    this.write();
  }

  makeFields(changed) {
    const on = { oninput: changed };
    const area = h("textarea", { rows: 5, placeholder: "What should the image show?", ...on });
    this.prompt = field("Prompt", area, { hint: HINT });
    area.addEventListener("keydown", (event) => this.recall(event));
    this.modelField = field("Model", h("select", on));
    this.again = h(
      "button",
      {
        type: "button",
        class: "xai-link",
        onclick: () => this.store.send({ kind: "models" }),
      },
      "Ask again",
    );
    this.modelField.element.append(this.again);
    const attributes = {
      n: { type: "number", min: 1, max: this.choices.max_images, step: 1, inputmode: "numeric" },
      timeout: {
        type: "number",
        min: 1,
        step: "any",
        inputmode: "decimal",
        placeholder: this.choices.timeout,
      },
    };
    const hints = { user: "For abuse monitoring." };
    /** Fields of one value by the names of their options, in the order of the table. */
    this.fields = new Map();
    for (const option of this.choices.fields) {
      const { name, label, values } = option;
      const control = values
        ? this.select(option, on)
        : h("input", { type: "text", autocomplete: "off", ...attributes[name], ...on });
      this.fields.set(name, field(label, control, { hint: hints[name] }));
    }
    this.folder = field(
      "Folder",
      h("input", {
        type: "text",
        placeholder: "the notebook’s folder",
        autocomplete: "off",
        ...on,
      }),
    );
    this.rewrite = checkbox(
      "Rewrite the prompt first",
      "By a chat model; captions show the rewrite.",
      changed,
    );
    this.export = checkbox("Save every image as a file", "", changed);
  }

  select({ values, open }, listeners) {
    const automatic = open ? [h("option", { value: "" }, "Automatic")] : [];
    const options = values.map((value) => h("option", { value }, described(value)));
    return h("select", listeners, automatic, options);
  }

  optionsGrid() {
    const fields = { main: [], more: [] };
    for (const { name, values } of this.choices.fields)
      fields[values || name === "n" ? "main" : "more"].push(this.fields.get(name).element);
    const extra = h(
      "div",
      { class: "xai-grid" },
      fields.more,
      this.export.element,
      this.folder.element,
    );
    for (const part of [this.export, this.folder]) part.element.classList.add("xai-wide");
    this.more = h("details", { class: "xai-more" }, h("summary", {}, "More"), extra);
    this.modelField.element.classList.add("xai-wide");
    return [h("div", { class: "xai-grid" }, this.modelField.element, fields.main), this.more];
  }

  makeInputs() {
    this.file = h("input", {
      type: "file",
      multiple: true,
      hidden: true,
      accept: "image/png,image/jpeg,image/webp",
      onchange: () => {
        this.addFiles(this.file.files);
        this.file.value = "";
      },
    });
    this.add = h(
      "button",
      { type: "button", class: "xai-button", onclick: () => this.file.click() },
      "Add images to edit",
    );
    this.inputsHint = h("span", { class: "xai-hint" });
    this.inputList = h("ul", { class: "xai-inputs", role: "list", "aria-label": "Images to edit" });
    this.inputs = h(
      "div",
      { class: "xai-drop", role: "group", "aria-label": "Images to edit" },
      this.inputList,
      h("div", { class: "xai-row" }, this.add, this.inputsHint),
      this.file,
    );
    this.refused = h("p", { class: "xai-hint xai-bad", role: "alert", hidden: true });
    this.inputs.append(this.refused);
  }

  /** `restore`: a file that tells how it was made is no picture to edit, but the form's content. */
  addFiles(files, restore = false) {
    setText(this.refused, "");
    for (const file of files) {
      const id = unique(`upload-${Date.now().toString(36)}`);
      this.values.inputs.push({ id, name: file.name });
      this.store.upload(id, file, restore);
    }
    this.changed();
  }

  /** The kernel has looked at a file: what is no picture is no input. */
  answered({ id, error }) {
    if (!error) return this.showInputs();
    setText(this.refused, [this.refused.textContent, error].filter(Boolean).join(" "));
    this.removeInput(id);
  }

  /** Take other values, all or some. */
  fill(values) {
    this.values = { ...this.values, ...values };
    this.write();
    this.store.need(this.values.inputs.map((input) => input.id));
    this.changed();
  }

  /** Up and down at the ends of the field bring back the prompts that were used. */
  recall(event) {
    const { control } = this.prompt;
    const prompts = this.model.get("prompts");
    const up = event.key === "ArrowUp";
    if (
      (!up && event.key !== "ArrowDown") ||
      event.shiftKey ||
      event.ctrlKey ||
      event.metaKey ||
      event.altKey
    )
      return;
    const { value, selectionStart, selectionEnd } = control;
    const beside = up ? value.slice(0, selectionStart) : value.slice(selectionEnd);
    if (beside.includes("\n") || (up && selectionEnd !== selectionStart)) return;
    if (this.recalled === undefined || prompts[this.recalled] !== value) {
      this.recalled = prompts.length;
      this.draft = value;
    }
    let at = this.recalled + (up ? -1 : 1);
    if (up && prompts[at] === value) at -= 1;
    if (at < 0 || at > prompts.length || this.recalled === at) return;
    event.preventDefault();
    this.recalled = at;
    control.value = at === prompts.length ? this.draft : prompts[at];
    control.setSelectionRange(up ? 0 : control.value.length, up ? 0 : control.value.length);
    this.read();
  }

  /** Make a card's image the only one to edit, and ask what to change. */
  editCard(card, name) {
    this.values.inputs = this.values.inputs.filter((input) => input.id === card.id);
    this.prompt.control.placeholder = "What should change?";
    this.addCard(card, name);
    this.prompt.control.select();
  }

  /** Add a card's image to those that are edited or referred to. */
  addCard(card, name) {
    if (!this.values.inputs.some((input) => input.id === card.id)) {
      this.values.inputs.push({ id: card.id, name });
      this.store.send({ kind: "edit", id: card.id, name });
    }
    this.changed();
    this.focusPrompt();
  }

  removeInput(id) {
    this.values.inputs = this.values.inputs.filter((input) => input.id !== id);
    if (this.values.inputs.length === 0)
      this.prompt.control.placeholder = "What should the image show?";
    this.changed();
  }

  focusPrompt() {
    this.prompt.control.scrollIntoView({ block: "nearest" });
    this.prompt.control.focus();
  }

  current() {
    const models = this.model.get("models");
    return models.find((model) => model.name === this.values.model);
  }

  /** Fields to values. */
  read() {
    const values = this.values;
    values.prompt = this.prompt.control.value;
    values.model = this.modelField.control.value || values.model;
    for (const [name, { control }] of this.fields) values[name] = control.value;
    values.folder = this.folder.control.value;
    values.rewrite = this.rewrite.control.checked;
    values.export = this.export.control.checked;
    this.changed();
  }

  /** Values to fields. */
  write() {
    const values = this.values;
    this.prompt.control.value = values.prompt;
    for (const [name, { control }] of this.fields) control.value = values[name];
    this.folder.control.value = values.folder;
    this.rewrite.control.checked = values.rewrite;
    this.export.control.checked = values.export;
    this.more.open = Boolean(values.user || values.timeout || values.export);
    this.showModels();
  }

  showModels() {
    const select = this.modelField.control;
    const options = this.model.get("models").map((model) => {
      const price = model.unknown ? "not listed by the server" : priceOf(model);
      return h("option", { value: model.name }, price ? `${model.name} – ${price}` : model.name);
    });
    select.replaceChildren(...options);
    select.value = this.values.model;
    const asking = this.model.get("asking");
    const note = this.model.get("models_note");
    setText(this.modelField.note, asking ? "Asking the server for its models …" : note);
    this.again.hidden = asking || note === "";
    this.show();
  }

  changed() {
    this.show();
    this.onchange();
  }

  /** What depends on other fields: abilities of the model, pictures to edit. */
  show() {
    const model = this.current();
    const offered = model?.quality ?? true;
    const quality = this.fields.get("quality");
    quality.control.disabled = !offered;
    setText(quality.note, offered ? "" : "Not with this model");
    const edits = model?.edits ?? true;
    const full = this.values.inputs.length >= this.choices.max_inputs;
    this.add.disabled = !edits || full;
    setText(
      this.inputsHint,
      !edits
        ? "This model does not take images."
        : full
          ? `${this.choices.max_inputs} is all one request takes.`
          : "or drop or paste them",
    );
    this.folder.element.hidden = !this.values.export;
    this.showInputs();
  }

  showInputs() {
    keepList(this.inputList, this.values.inputs, {
      key: "id",
      make: ({ id, name }) =>
        h(
          "li",
          {},
          h("div", { class: "xai-thumb" }, h("img", { alt: "", hidden: true })),
          h(
            "div",
            { class: "xai-inputname" },
            h("span", {}, name),
            h("span", { class: "xai-hint" }),
          ),
          h(
            "button",
            {
              type: "button",
              class: "xai-button xai-small",
              "aria-label": `Remove ${name}`,
              onclick: () => this.removeInput(id),
            },
            "Remove",
          ),
        ),
      update: (item, { id }) => {
        const image = item.querySelector("img");
        const url = this.store.pictures.get(id);
        if (url && image.src !== url) image.src = url;
        image.hidden = !url;
        const state = this.store.uploads.get(id) ?? {};
        const note = item.querySelector(".xai-hint");
        setText(note, state.sending ? "Sending …" : state.note || "");
      },
      empty: () => this.add.focus(),
    });
  }

  /** What the images would cost by the list price, in words. */
  estimate() {
    const model = this.current();
    const count = Number(this.values.n) || 0;
    const images = count === 1 ? "1 image" : `${count} images`;
    if (model?.price == null) return images;
    return model.price === 0
      ? `${images}, free`
      : `${images}, about ${dollars(model.price * count)}`;
  }
}
