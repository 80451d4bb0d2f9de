// The order of the gallery's cards.

/** @typedef {import("../messages.js").Card} Card */

/**
 * Group cards by prompt, the most recently used prompt first.
 * @param {Card[]} cards  oldest first
 * @returns {{ id: string, cards: Card[] }[]}
 */
export function grouped(cards) {
  /** @type {Map<string, Card[]>} */
  const groups = new Map();
  for (const card of cards) {
    const group = groups.get(card.asked) ?? [];
    groups.delete(card.asked); // moves it to the end
    groups.set(card.asked, [...group, card]);
  }
  return [...groups.values()]
    .reverse()
    .map((group) => ({ id: `group ${group[0]?.id}`, cards: newestFirst(group) }));
}

/**
 * The newest generation first; the cards of one generation in their order.
 * @param {Card[]} cards
 */
function newestFirst(cards) {
  const groups = [...new Set(cards.map((card) => card.group))].reverse();
  return groups.flatMap((group) => cards.filter((card) => card.group === group));
}
