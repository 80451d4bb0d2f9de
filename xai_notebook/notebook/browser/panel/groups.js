// How cards stand in the gallery.

/** @typedef {import("../messages.js").Card} Card */

/**
 * Groups by prompt, the prompt used last first.
 * @param {Card[]} cards  oldest first
 * @returns {{ id: string, cards: Card[] }[]}
 */
export function grouped(cards) {
  /** @type {Map<string, Card[]>} */
  const groups = new Map();
  for (const card of cards) {
    const group = groups.get(card.asked) ?? [];
    groups.delete(card.asked); // so that it comes last
    groups.set(card.asked, [...group, card]);
  }
  return [...groups.values()]
    .reverse()
    .map((group) => ({ id: `group ${group[0]?.id}`, cards: newestFirst(group) }));
}

/**
 * Of what was made together, in order; what was made later stands before it.
 * @param {Card[]} cards
 */
function newestFirst(cards) {
  const groups = [...new Set(cards.map((card) => card.group))].reverse();
  return groups.flatMap((group) => cards.filter((card) => card.group === group));
}
