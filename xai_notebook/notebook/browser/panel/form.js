// The form: its fields, its input images and their values.

import {
  button,
  checkbox,
  field,
  h,
  keepList,
  link,
  part,
  setText,
  unique,
} from "../shared/elements.js";
import { dollars } from "../shared/words.js";
import { recall } from "./recall.js";

/**
 * @typedef {import("../messages.js").PanelModel} PanelModel
 * @typedef {import("../messages.js").Option} Option
 * @typedef {import("../messages.js").FormValues} FormValues
 * @typedef {{ id: string, note: string, error: string }} UploadReply
 */

const HINT = "Ctrl+Enter generates. ↑ brings back earlier prompts.";
const TEMPLATES = "{{\u00a0name\u00a0}} takes a variable.";
const PROMPT_PLACEHOLDER = "What should the image show?";
const EDIT_PLACEHOLDER = "What should change?";

/**
 * The label of a choice: aspect ratios with their orientation.
 * @param {string} choice
 */
function labelOf(choice) {
  const [width = 0, height] = choice.split(":").map(Number);
  if (height === undefined) return choice;
  const orientation = width > height ? "landscape" : width < height ? "portrait" : "square";
  return `${choice} ${orientation}`;
}

/** @param {import("../messages.js").Model} model */
function priceOf({ price }) {
  if (price == null) return "";
  return price === 0 ? "free" : `${dollars(price)} an image`;
}

export class Form {
  /** Fields by the names of their options, in the order of the option table.
   * @type {Map<string, { element: HTMLElement, control: HTMLInputElement | HTMLSelectElement, note: HTMLElement }>} */
  fields = new Map();

  /**
   * @param {PanelModel} model
   * @param {import("./store.js").Store} store
   * @param {{ onchange: () => void, generate: () => void }} handlers
   */
  constructor(model, store, { onchange, generate }) {
    this.model = model;
    this.store = store;
    this.onchange = onchange;
    this.values = structuredClone(model.get("form"));
    this.choices = model.get("choices");
    const changed = () => this.read();
    const on = { oninput: changed };
    const area = h("textarea", { rows: 5, placeholder: PROMPT_PLACEHOLDER, ...on });
    this.hint = model.get("visitors") ? HINT : `${HINT} ${TEMPLATES}`;
    this.prompt = field("Prompt", area, { hint: this.hint });
    recall(area, () => model.get("prompts"), changed);
    this.modelField = field("Model", h("select", on));
    this.reload = link("Reload models", () => store.send({ kind: "models" }));
    this.modelField.element.append(this.reload);
    this.#makeFields(on);
    const folder = {
      type: "text",
      placeholder: "the notebook’s folder",
      autocomplete: "off",
      ...on,
    };
    this.folder = field("Folder", h("input", folder));
    this.rewrite = checkbox(
      "Rewrite the prompt first",
      "By a chat model; captions show the rewrite.",
      changed,
    );
    this.export = checkbox("Save every image as a file", "", changed);
    this.more = h("details", { class: "xai-more" }, h("summary", {}, "More"));
    this.file = h("input", {
      type: "file",
      multiple: true,
      hidden: true,
      accept: "image/*,.heic,.heif,.tif,.tiff,.avif", // some systems know no media type for these extensions
      onchange: () => {
        this.addFiles(this.file.files ?? []);
        this.file.value = "";
      },
    });
    this.add = button("Add images to edit", () => this.file.click(), { class: "" });
    this.inputsHint = h("span", { class: "xai-hint" });
    const inputs = { "aria-label": "Images to edit" };
    this.inputList = h("ul", { class: "xai-inputs", role: "list", ...inputs });
    this.refused = h("p", { class: "xai-hint xai-bad", role: "alert", hidden: true });
    this.inputs = h(
      "div",
      { class: "xai-drop", role: "group", ...inputs },
      this.inputList,
      h("div", { class: "xai-row" }, this.add, this.inputsHint),
      this.file,
      this.refused,
    );
    this.element = h(
      "form",
      {
        class: "xai-form",
        onsubmit: (event) => {
          event.preventDefault();
          generate();
        },
      },
      h("div", { class: "xai-main" }, this.prompt.element, this.inputs, this.rewrite.element),
      h("div", { class: "xai-options" }, this.#layOut()),
    );
    this.element.addEventListener("keydown", (event) => {
      const { target } = event;
      if (event.key !== "Enter") return;
      const sends = event.ctrlKey || event.metaKey;
      const line = target instanceof HTMLInputElement && target.type !== "checkbox";
      if (sends || line) event.preventDefault(); // Enter in a one-line field must not spend money
      if (sends) generate();
    });
    this.write();
  }

  /** @param {import("../shared/elements.js").Listeners} on */
  #makeFields(on) {
    const { max_images: max, timeout: placeholder, fields } = this.choices;
    /** @type {Record<string, import("../shared/elements.js").Properties>} */
    const attributes = {
      n: { type: "number", min: 1, max, step: 1, inputmode: "numeric" },
      timeout: { type: "number", min: 1, step: "any", inputmode: "decimal", placeholder },
    };
    for (const option of fields) {
      const { name, label, values } = option;
      const plain = { type: "text", autocomplete: "off", ...attributes[name], ...on };
      const control = values ? this.#select(values, option.open, on) : h("input", plain);
      const hint = name === "user" ? "For abuse monitoring." : "";
      this.fields.set(name, field(label, control, { hint }));
    }
  }

  /**
   * @param {string[]} values
   * @param {boolean} open
   * @param {import("../shared/elements.js").Listeners} on
   */
  #select(values, open, on) {
    const automatic = open ? [h("option", { value: "" }, "Automatic")] : [];
    const options = values.map((value) => h("option", { value }, labelOf(value)));
    return h("select", on, automatic, options);
  }

  #layOut() {
    /** @type {{ main: HTMLElement[], more: HTMLElement[] }} */
    const fields = { main: [], more: [] };
    for (const { name, values } of this.choices.fields) {
      const element = this.fields.get(name)?.element;
      if (element) fields[values || name === "n" ? "main" : "more"].push(element);
    }
    const wide = [this.export.element, this.folder.element];
    const visitors = this.model.get("visitors");
    for (const element of [this.modelField.element, ...wide]) element.classList.add("xai-wide");
    this.more.append(h("div", { class: "xai-grid" }, fields.more, wide));
    const main = h("div", { class: "xai-grid" }, this.modelField.element, fields.main);
    return visitors ? [main] : [main, this.more];
  }

  // Input images

  /**
   * Add files as input images. `restore`: a file with a request in its metadata fills the form.
   * @param {Iterable<File>} files
   */
  addFiles(files, restore = false) {
    setText(this.refused, "");
    for (const file of files) {
      const id = unique(`upload-${Date.now().toString(36)}`);
      this.values.inputs.push({ id, name: file.name });
      this.store.upload(id, file, restore);
    }
    this.changed();
  }

  /**
   * Handle the kernel's reply to a file: a refused file is removed.
   * @param {UploadReply} reply
   */
  answered({ id, error }) {
    if (!error) return this.showInputs();
    setText(this.refused, [this.refused.textContent, error].filter(Boolean).join(" "));
    return this.removeInput(id);
  }

  /**
   * Make a card's image the only input image, and select the prompt.
   * @param {string} id
   * @param {string} name
   */
  editCard(id, name) {
    this.values.inputs = this.values.inputs.filter((input) => input.id === id);
    this.addCard(id, name);
    this.prompt.control.select();
  }

  /**
   * Add a card's image to the input images.
   * @param {string} id
   * @param {string} name
   */
  addCard(id, name) {
    if (!this.values.inputs.some((input) => input.id === id)) {
      this.values.inputs.push({ id, name });
      this.store.send({ kind: "edit", id, name });
    }
    this.changed();
    this.focusPrompt();
  }

  /** @param {string} id */
  removeInput(id) {
    this.values.inputs = this.values.inputs.filter((input) => input.id !== id);
    this.changed();
  }

  focusPrompt() {
    this.prompt.control.scrollIntoView({ block: "nearest" });
    this.prompt.control.focus();
  }

  // Values

  /**
   * Set values, all or some.
   * @param {Partial<FormValues>} values
   */
  fill(values) {
    this.values = { ...this.values, ...values };
    this.write();
    this.store.previews(this.values.inputs.map((input) => input.id));
    this.changed();
  }

  get selectedModel() {
    return this.model.get("models").find(({ name }) => name === this.values.model);
  }

  /** Read the values from the fields. */
  read() {
    const { values } = this;
    values.prompt = this.prompt.control.value;
    values.model = this.modelField.control.value || values.model;
    for (const [name, { control }] of this.fields) values[name] = control.value;
    values.folder = this.folder.control.value;
    values.rewrite = this.rewrite.control.checked;
    values.export = this.export.control.checked;
    this.changed();
  }

  /** Write the values into the fields. */
  write() {
    const { values } = this;
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
    setText(this.modelField.note, asking ? "Loading the server's models …" : note);
    this.reload.hidden = asking || note === "";
    this.show();
  }

  changed() {
    this.show();
    this.onchange();
  }

  /** Update what depends on the model and on the input images. */
  show() {
    const { selectedModel } = this;
    const editing = this.values.inputs.length > 0;
    this.prompt.control.placeholder = editing ? EDIT_PLACEHOLDER : PROMPT_PLACEHOLDER;
    setText(this.prompt.note, editing ? `${EDIT_PLACEHOLDER} ${this.hint}` : this.hint);
    const quality = this.fields.get("quality");
    if (quality) {
      quality.control.disabled = selectedModel?.quality === false;
      setText(quality.note, quality.control.disabled ? "Not supported by this model" : "");
    }
    const edits = selectedModel?.edits ?? true;
    const max = this.choices.max_inputs;
    const full = this.values.inputs.length >= max;
    this.add.disabled = !edits || full;
    const hint = full ? `One request takes at most ${max}.` : "or drop or paste them";
    setText(this.inputsHint, edits ? hint : "This model does not take images.");
    this.folder.element.hidden = !this.values.export;
    this.showInputs();
  }

  showInputs() {
    keepList(this.inputList, this.values.inputs, {
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
          button("Remove", () => this.removeInput(id), { "aria-label": `Remove ${name}` }),
        ),
      update: (item, { id }) => {
        const image = /** @type {HTMLImageElement} */ (part(item, "img"));
        const url = this.store.pictures.get(id);
        if (url && image.src !== url) image.src = url;
        image.hidden = !url;
        const { sending, note = "" } = this.store.uploads.get(id) ?? {};
        setText(part(item, ".xai-hint"), sending ? "Sending …" : note);
      },
      focusLost: () => this.add.focus(),
    });
  }

  /**
   * The expected cost of the images, as text.
   * @param {(number | null)[]} expected US dollars for 1, 2, … images, where known.
   */
  estimate(expected) {
    const count = Number(this.values.n);
    if (!Number.isInteger(count) || count < 1 || count > this.choices.max_images) return "";
    const images = count === 1 ? "1 image" : `${count} images`;
    const usd = expected[count - 1];
    if (usd == null) return images;
    return usd === 0 ? `${images}, free` : `${images}, about ${dollars(usd)}`;
  }
}
