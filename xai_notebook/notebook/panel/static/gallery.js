// The gallery: a card for each picture, or for the reason why there is none.

class Gallery {
  /** `actions` are called with a card: edit, reference, use, full, compare, save. */
  constructor(store, actions) {
    this.store = store;
    this.actions = actions;
    this.element = h("div", { class: "xai-gallery" });
    this.cards = new Map();
    this.resized = new ResizeObserver(() => this.fold());
    this.resized.observe(this.element);
  }

  /** Offer to show all of a prompt where not all of it is shown. */
  fold() {
    for (const text of this.element.querySelectorAll(".xai-long"))
      text.nextSibling.hidden = text.scrollHeight <= text.clientHeight + 1;
  }

  /** Newest generation first, each in its own order; placeholders for the one that runs. */
  show(cards, jobs) {
    this.cards = new Map(cards.map((card) => [card.id, card]));
    const groups = [...new Set(cards.map((card) => card.group))].reverse().map((group) => ({
      id: `group${group}`, cards: cards.filter((card) => card.group === group),
    }));
    const running = jobs.filter((job) => job.state === "running");
    const waiting = running.map((job) => ({ id: job.id, job }));
    keepList(this.element, [...waiting, ...groups], {
      key: "id",
      make: (item) => (item.job ? this.placeholders(item.job) : this.group(item.cards)),
      update: (element, item) => item.job || this.update(element, item.cards),
    });
    this.fold();
    this.store.need(cards.filter((card) => card.ok).map((card) => card.id));
  }

  placeholders({ n, shape }) {
    const [width, height] = shape.split(":");
    const boxes = Array.from({ length: n }, () =>
      h("div", { class: "xai-box", style: `aspect-ratio: ${width} / ${height}` }));
    return h("div", { class: "xai-cards", "aria-hidden": "true", "data-count": n }, boxes);
  }

  group(cards) {
    const list = h("ul", { class: "xai-cards", role: "list", "data-count": cards.length });
    list.setAttribute("aria-label", cards.length === 1 ? "One image" : `${cards.length} images`);
    return list;
  }

  update(list, cards) {
    keepList(list, cards, {
      key: "id",
      make: (card) => this.card(card),
      update: (element, card) => this.refresh(element, card),
    });
  }

  card(card) {
    const figure = h("figure", {},
      card.ok ? this.picture(card) : this.failure(card),
      h("figcaption", {}, this.caption(card), h("p", { class: "xai-facts" }), h("p", { class: "xai-file" })));
    const buttons = card.ok
      ? [
          this.button(card, "Save", "save"),
          this.button(card, "Edit this", "edit"),
          this.button(card, "Add as reference", "reference"),
          this.button(card, "Use prompt", "use"),
          this.button(card, "Compare", "compare", { "aria-pressed": "false" }),
          this.button(card, "Full size", "full"),
        ]
      : [this.button(card, "Use prompt", "use")];
    return h("li", { class: "xai-card" }, figure, h("div", { class: "xai-actions" }, buttons));
  }

  picture(card) {
    const [width, height] = card.size.length ? card.size : [1, 1];
    const image = h("img", { alt: card.alt, width, height });
    return h("button", {
      type: "button", class: "xai-picture", style: `aspect-ratio: ${width} / ${height}`,
      "aria-label": `Show full size: ${card.alt}`, onclick: () => this.actions.full(this.cards.get(card.id)),
    }, image);
  }

  failure(card) {
    return h("div", { class: "xai-nopicture" }, h("strong", {}, `${card.title}.`), ` ${card.error}`);
  }

  caption(card) {
    const text = h("p", { class: "xai-prompt xai-long", dir: "auto" },
      h("span", { class: "xai-tag" }, card.label), " ", card.prompt);
    const more = h("button", {
      type: "button", class: "xai-link", "aria-expanded": "false", hidden: true,
      "aria-label": `Show all of the prompt: ${card.name}`,
      onclick: ({ currentTarget }) => {
        const open = !text.classList.toggle("xai-long");
        const label = open ? "Show less" : "Show all";
        currentTarget.textContent = label;
        currentTarget.setAttribute("aria-expanded", String(open));
        currentTarget.setAttribute("aria-label", `${label} of the prompt: ${card.name}`);
      },
    }, "Show all");
    const written = card.written && h("details", {}, h("summary", {}, "Prompt as written"),
      h("p", { class: "xai-prompt", dir: "auto" }, card.written));
    return [text, more, written || null];
  }

  button(card, text, action, attributes = {}) {
    return h("button", {
      type: "button", class: "xai-button xai-small", "data-action": action,
      "aria-label": `${text}: ${card.name}`, ...attributes,
      onclick: () => this.actions[action](this.cards.get(card.id)),
    }, text);
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

  /** Mark the cards chosen for comparison. */
  mark(chosen) {
    for (const button of this.element.querySelectorAll("[data-action=compare]")) {
      const pressed = chosen.includes(button.closest("li").dataset.key);
      button.setAttribute("aria-pressed", String(pressed));
    }
  }
}
