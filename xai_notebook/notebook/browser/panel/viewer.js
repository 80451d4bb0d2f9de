// @ts-nocheck
// One picture in full, or two under a slider: a modal dialog keeps the focus and gives it back.

import { h, setText, unique } from "../shared/elements.js";
import { Stage } from "../shared/stage.js";

export class Viewer {
  /** `save` and `edit` are called with a card; `next` returns the card so many steps from one. */
  constructor(store, { save, edit, next }) {
    this.store = store;
    this.next = next;
    this.stage = new Stage();
    this.title = h("h2", { class: "xai-title", id: unique("title") });
    this.note = h("p", { class: "xai-hint", role: "status" });
    this.words = h("div", { class: "xai-captions" });
    const button = (text, name, onclick) =>
      h(
        "button",
        { type: "button", class: "xai-button xai-small", "aria-label": name, onclick },
        text,
      );
    this.acts = {
      ArrowLeft: () => this.step(-1),
      ArrowRight: () => this.step(1),
      s: () => save(this.cards[0]),
      e: () => {
        this.element.close();
        edit(this.cards[0]);
      },
    };
    this.single = [
      button("←", "Picture before", this.acts.ArrowLeft),
      button("→", "Picture after", this.acts.ArrowRight),
      button("Save", "Save (S)", this.acts.s),
      button("Edit this", "Edit this (E)", this.acts.e),
    ];
    this.zooms = [
      button("−", "Smaller", () => this.stage.key("-")),
      button("Fit", "Fit (0)", () => this.stage.fit()),
      button("1:1", "1:1, one pixel on one of the screen (1)", () => this.stage.whole()),
      button("+", "Larger", () => this.stage.key("+")),
    ];
    this.slider = h("input", {
      type: "range",
      class: "xai-between-two",
      min: 0,
      max: 100,
      value: 50,
      "aria-label": "How much of the first picture is seen",
      oninput: () => this.cut(),
    });
    this.close = button("Close", "Close", () => this.element.close());
    this.element = h(
      "dialog",
      {
        class: "xai-dialog",
        "aria-labelledby": this.title.id,
        onkeydown: (event) => this.key(event),
      },
      h(
        "div",
        { class: "xai-row xai-between" },
        this.title,
        h("div", { class: "xai-row xai-tools" }, this.single, this.zooms, this.close),
      ),
      this.stage.element,
      this.slider,
      this.note,
      this.words,
    );
    this.element.addEventListener("click", (event) => {
      if (event.target === this.element) this.element.close();
    });
    this.element.addEventListener("close", () => {
      this.stage.show();
      this.words.replaceChildren();
    });
  }

  /** Show a card; with a second one, both, and a slider between them. */
  open(...cards) {
    this.cards = cards;
    const two = cards.length > 1;
    this.title.textContent = two ? "Compare" : "Full size";
    for (const button of this.single) button.hidden = two;
    this.slider.hidden = !two;
    this.note.textContent = "Loading the original …";
    const images = cards.map((card) =>
      h("img", { alt: card.alt, src: this.store.pictures.get(card.id), draggable: "false" }),
    );
    this.stage.show(...images);
    this.cut();
    this.words.replaceChildren(
      ...cards.map((card, place) => this.about(card, two ? ["Left", "Right"][place] : card.label)),
    );
    if (!this.element.open) {
      this.element.showModal();
      (two ? this.slider : this.stage.element).focus();
    }
    const originals = cards.map((card, place) =>
      this.store.original(card.id).then((url) => (images[place].src = url)),
    );
    Promise.all(originals).then(
      () => this.cards === cards && setText(this.note, ""),
      (error) => this.cards === cards && setText(this.note, error.message),
    );
  }

  about(card, label) {
    return h(
      "div",
      {},
      h(
        "p",
        { class: "xai-prompt", dir: "auto" },
        h("span", { class: "xai-tag" }, label),
        " ",
        card.prompt,
      ),
      h("p", { class: "xai-facts" }, card.facts.join(" · ")),
    );
  }

  /** The second picture lies on the first, and is seen right of the slider. */
  cut() {
    const [, upper] = this.stage.element.children;
    if (upper) upper.style.clipPath = `inset(0 0 0 ${this.slider.value}%)`;
  }

  step(by) {
    const card = this.next(this.cards[0], by);
    if (card) this.open(card);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target === this.slider) return;
    const act = this.cards.length > 1 ? undefined : this.acts[event.key];
    if (!this.stage.key(event.key)) {
      if (!act) return;
      act();
    }
    event.preventDefault();
    event.stopPropagation();
  }
}
