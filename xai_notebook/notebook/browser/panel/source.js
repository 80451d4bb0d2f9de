// The panel's pictures for the viewer: cards by their keys, relatives by their ids in the library.

/**
 * @param {import("./store.js").Store} store
 * @param {import("./gallery.js").Gallery} gallery
 * @param {{ save?: (card: import("../messages.js").Card) => void, edit: (card: import("../messages.js").Card) => void,
 *   closed: () => void }} actions  without `save`, the user may change nothing
 * @returns {import("../shared/viewer.js").Source}
 */
export function sourceOf(store, gallery, { save, edit, closed }) {
  const send = (/** @type {string} */ kind, /** @type {number} */ id, more = {}) =>
    store.send({ kind, ids: [id], ...more });
  return {
    glance: (key) => {
      const card = gallery.cards.get(key);
      if (!card) return undefined;
      const { facts, alt, size, asked, prompt, written } = card;
      return {
        facts,
        alt,
        size,
        prompt: asked,
        rewritten: written ? prompt : "",
        url: store.pictures.get(key),
      };
    },
    load: (key) => store.picture(typeof key === "number" ? { id: key } : { card: key }),
    next: (key, by) => {
      const { shown } = gallery;
      const at = shown.indexOf(key);
      return at < 0 ? undefined : shown[at + by];
    },
    position: (key) => {
      const { shown } = gallery;
      const at = shown.indexOf(key);
      return at < 0 ? "" : `${at + 1} of ${shown.length}`;
    },
    thumbnail: async (id) => {
      await store.need([id]);
      return store.thumbnails.get(id) ?? "";
    },
    edit: (key) => {
      const card = gallery.cards.get(key);
      if (card) edit(card);
      else store.send({ kind: "take", id: key });
    },
    ...(save && {
      save: (/** @type {any} */ key) => {
        const card = gallery.cards.get(key);
        if (card) save(card);
        else send("export", key);
      },
      star: (/** @type {number} */ id, /** @type {boolean} */ value) => send("star", id, { value }),
      tag: (/** @type {number} */ id, /** @type {string} */ tag, /** @type {boolean} */ value) =>
        send("tag", id, { tag, value }),
    }),
    closed,
  };
}
