// Full size, and two side by side: a modal dialog keeps the focus and gives it back.

class Viewer {
  constructor(store) {
    this.store = store;
    this.title = h("h2", { class: "xai-title", id: unique("title") });
    this.body = h("div", { class: "xai-sheets" });
    this.close = h("button", { type: "button", class: "xai-button", onclick: () => this.element.close() }, "Close");
    this.element = h("dialog", { class: "xai-dialog", "aria-labelledby": this.title.id },
      h("div", { class: "xai-row xai-between" }, this.title, this.close), this.body);
    this.element.addEventListener("click", (event) => {
      if (event.target === this.element) this.element.close();
    });
    this.element.addEventListener("close", () => this.body.replaceChildren());
  }

  open(title, cards) {
    this.title.textContent = title;
    this.body.replaceChildren(...cards.map((card) => this.sheet(card)));
    this.body.dataset.count = cards.length;
    this.element.showModal();
    this.close.focus();
  }

  sheet(card) {
    const image = h("img", { alt: card.alt, src: this.store.pictures.get(card.id) });
    const note = h("p", { class: "xai-hint", role: "status" }, "Loading the original …");
    this.store.original(card.id).then(
      (url) => {
        image.src = url;
        setText(note, "");
      },
      (error) => setText(note, error.message),
    );
    return h("figure", {}, image, note,
      h("figcaption", {},
        h("p", { class: "xai-prompt", dir: "auto" }, h("span", { class: "xai-tag" }, card.label), " ", card.prompt),
        h("p", { class: "xai-facts" }, card.facts.join(" · "))));
  }
}
