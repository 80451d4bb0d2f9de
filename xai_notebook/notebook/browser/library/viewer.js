// @ts-nocheck
// One picture in full, and two on top of each other: a modal dialog keeps the focus and gives it back.

import { copyText, h, setText, unique } from "../shared/elements.js";

const MOST_ZOOM = 8;

export class LibraryViewer {
  constructor(store, { step, act }) {
    this.store = store;
    this.step = step;
    this.urls = [];
    this.title = h("h2", { class: "xai-title", id: unique("title") }, "Picture");
    this.stage = h("div", {
      class: "xai-stage",
      tabindex: 0,
      role: "group",
      "aria-label": "Picture: + and - zoom, arrows move",
      "data-lm-suppress-shortcuts": "true",
      onwheel: (event) => this.wheel(event),
      ondblclick: () => this.zoomTo(this.zoom > 1 ? 1 : 2),
      onpointerdown: (event) => this.grab(event),
    });
    this.facts = h("div", { class: "xai-about" });
    this.note = h("p", { class: "xai-hint", role: "status" });
    const button = (label, onclick, name = label) =>
      h(
        "button",
        { type: "button", class: "xai-button xai-small", "aria-label": name, onclick },
        label,
      );
    this.close = button("Close", () => this.element.close());
    this.steps = [
      button("←", () => this.step(-1), "Newer picture"),
      button("→", () => this.step(1), "Older picture"),
    ];
    this.zooms = [
      button("−", () => this.zoomTo(this.zoom / 1.5), "Smaller"),
      button("Fit", () => this.zoomTo(1)),
      button("+", () => this.zoomTo(this.zoom * 1.5), "Larger"),
    ];
    this.star = button("Star", () => act("star", [this.shown.id], { value: !this.shown.starred }));
    this.edit = button("Edit in a panel", () => act("edit", [this.shown.id]));
    this.element = h(
      "dialog",
      {
        class: "xai-dialog xai-viewer",
        "aria-labelledby": this.title.id,
        onkeydown: (event) => this.key(event),
      },
      h(
        "div",
        { class: "xai-row xai-between" },
        this.title,
        h(
          "div",
          { class: "xai-row" },
          ...this.steps,
          ...this.zooms,
          this.star,
          this.edit,
          this.close,
        ),
      ),
      this.note,
      h("div", { class: "xai-sheets" }, this.stage, this.facts),
    );
    this.element.addEventListener("close", () => this.clear());
  }

  clear() {
    for (const url of this.urls) URL.revokeObjectURL(url);
    this.urls = [];
    this.stage.replaceChildren();
    this.facts.replaceChildren();
    this.shown = null;
    this.zoom = 1;
    this.left = this.top = 0;
  }

  open() {
    if (this.element.open) return;
    this.element.showModal();
    this.stage.focus();
  }

  async load(id) {
    const picture = await this.store.ask({ type: "picture", id });
    const url = URL.createObjectURL(new Blob([picture.buffers[0]], { type: picture.media_type }));
    return { ...picture, id, url };
  }

  async show(id) {
    this.wanted = id;
    this.open();
    setText(this.note, "Loading the original …");
    let picture;
    try {
      picture = await this.load(id);
    } catch (error) {
      if (this.wanted === id) setText(this.note, error.message);
      return;
    }
    if (this.wanted !== id || !this.element.open) {
      URL.revokeObjectURL(picture.url);
      return;
    }
    this.clear();
    this.urls = [picture.url];
    this.shown = picture;
    this.title.textContent = "Picture";
    this.stage.replaceChildren(
      h("img", { alt: picture.prompt, src: picture.url, draggable: "false" }),
    );
    this.controls(true);
    this.about(picture);
    setText(this.note, picture.error ?? "");
  }

  controls(single) {
    for (const button of [...this.steps, ...this.zooms, this.star, this.edit])
      button.hidden = !single;
    if (single) this.starred();
  }

  starred() {
    this.star.textContent = this.shown.starred ? "★ Starred" : "☆ Star";
    this.star.setAttribute("aria-label", this.shown.starred ? "Take the star away" : "Star");
  }

  changed(row) {
    if (!this.shown || row.id !== this.shown.id) return;
    this.shown.starred = row.starred;
    this.starred();
  }

  about(picture) {
    const facts = [
      picture.model,
      picture.size.join(" × "),
      picture.cost_usd ? `$${picture.cost_usd.toPrecision(2)}` : "",
      new Date(picture.created * 1000).toLocaleString(),
      picture.notebook,
      picture.tags.length ? `tags: ${picture.tags.join(", ")}` : "",
    ];
    const copy = h(
      "button",
      {
        type: "button",
        class: "xai-button xai-small",
        onclick: async () => {
          copy.textContent = (await copyText(picture.cell)) ? "Copied" : "Not copied";
          setTimeout(() => (copy.textContent = "Copy the cell"), 2000);
        },
      },
      "Copy the cell",
    );
    const rewritten = picture.rewritten
      ? [
          h("h3", { class: "xai-title" }, "Rewritten prompt"),
          h("p", { class: "xai-prompt", dir: "auto" }, picture.rewritten),
        ]
      : [];
    this.facts.replaceChildren(
      h("h3", { class: "xai-title" }, "Prompt"),
      h("p", { class: "xai-prompt", dir: "auto" }, picture.prompt),
      ...rewritten,
      h("p", { class: "xai-facts" }, facts.filter(Boolean).join(" · ")),
      h(
        "pre",
        { class: "xai-cell", tabindex: 0, role: "group", "aria-label": "The cell that made it" },
        h("code", {}, picture.cell),
      ),
      h("div", { class: "xai-row" }, copy),
      ...this.lineage(picture),
    );
  }

  /** What it was made from, itself, and what was made from it: a strip to walk along. */
  lineage({ id, lineage }) {
    const ids = [...lineage.ancestors, id, ...lineage.descendants];
    if (ids.length === 1) return [];
    const links = ids.map((each, place) => {
      const image = h("img", { alt: "" });
      const words =
        each === id
          ? "This picture"
          : place < lineage.ancestors.length
            ? "Made from this"
            : "An edit of it";
      const fill = () => (image.src = this.store.thumbnails.get(each) || "");
      if (this.store.thumbnails.get(each)) fill();
      else this.store.need([each]).then(fill);
      return h(
        "button",
        {
          type: "button",
          class: "xai-link xai-kin",
          "aria-label": `${words}, ${place + 1} of ${ids.length}`,
          "aria-current": each === id ? "true" : null,
          onclick: () => this.show(each),
        },
        image,
      );
    });
    const parent = lineage.ancestors.at(-1);
    const compare =
      parent === undefined
        ? []
        : [
            h(
              "button",
              {
                type: "button",
                class: "xai-button xai-small",
                onclick: () => this.compare(parent, id),
              },
              "Before and after",
            ),
          ];
    return [
      h("h3", { class: "xai-title" }, "Where it comes from"),
      h("div", { class: "xai-row xai-strip" }, ...links),
      ...compare,
    ];
  }

  /** Two pictures on top of each other, and a slider between them. */
  async compare(before, after) {
    this.wanted = null;
    this.open();
    setText(this.note, "Loading …");
    let pair;
    try {
      pair = await Promise.all([this.load(before), this.load(after)]);
    } catch (error) {
      setText(this.note, error.message);
      return;
    }
    this.clear();
    this.urls = pair.map(({ url }) => url);
    const [lower, upper] = pair.map(({ prompt, url }) =>
      h("img", { alt: prompt, src: url, draggable: "false" }),
    );
    upper.className = "xai-upper";
    const slider = h("input", {
      type: "range",
      min: 0,
      max: 100,
      value: 50,
      "aria-label": "How much of the first picture is seen",
      oninput: () => (upper.style.clipPath = `inset(0 0 0 ${slider.value}%)`),
    });
    upper.style.clipPath = "inset(0 0 0 50%)";
    this.title.textContent = "Before and after";
    this.stage.replaceChildren(lower, upper);
    this.controls(false);
    this.facts.replaceChildren(
      slider,
      ...pair.map(({ prompt }, place) =>
        h(
          "p",
          { class: "xai-prompt", dir: "auto" },
          h("span", { class: "xai-tag" }, place ? "Right" : "Left"),
          " ",
          prompt,
        ),
      ),
    );
    setText(this.note, "");
    slider.focus();
  }

  zoomTo(zoom) {
    if (!this.shown) return;
    this.zoom = Math.max(1, Math.min(MOST_ZOOM, zoom));
    if (this.zoom === 1) this.left = this.top = 0;
    this.pan(0, 0);
  }

  pan(x, y) {
    const [image] = this.stage.children;
    if (!image || !this.shown) return;
    this.left += x;
    this.top += y;
    image.style.transform = `translate(${this.left}px, ${this.top}px) scale(${this.zoom})`;
  }

  wheel(event) {
    event.preventDefault();
    this.zoomTo(this.zoom * (event.deltaY < 0 ? 1.15 : 1 / 1.15));
  }

  grab(event) {
    if (!this.shown || this.zoom === 1) return;
    event.preventDefault();
    this.stage.setPointerCapture(event.pointerId);
    const move = ({ movementX, movementY }) => this.pan(movementX, movementY);
    this.stage.addEventListener("pointermove", move);
    this.stage.addEventListener(
      "pointerup",
      () => this.stage.removeEventListener("pointermove", move),
      { once: true },
    );
  }

  key(event) {
    if (!this.shown || event.target.closest("input, pre")) return;
    const zoomed = this.zoom > 1;
    const moves = {
      ArrowLeft: [40, 0],
      ArrowRight: [-40, 0],
      ArrowUp: [0, 40],
      ArrowDown: [0, -40],
    };
    if (event.key === "+" || event.key === "=") this.zoomTo(this.zoom * 1.5);
    else if (event.key === "-") this.zoomTo(this.zoom / 1.5);
    else if (zoomed && event.key in moves) this.pan(...moves[event.key]);
    else if (event.key === "ArrowLeft") this.step(-1);
    else if (event.key === "ArrowRight") this.step(1);
    else return;
    event.preventDefault();
  }
}
