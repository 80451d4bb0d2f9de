// What is chosen in a grid, by ids, and where the keyboard is: no element is looked at here.

/**
 * @typedef {object} Choice
 * @property {Set<number>} ids
 * @property {number} current  position of the keyboard
 * @property {number} anchor  where Shift begins
 */

/** @returns {Choice} */
export const nothing = () => ({ ids: new Set(), current: 0, anchor: 0 });

/**
 * @param {Choice} choice
 * @param {number} position
 * @param {number[]} ids  there: one, or none
 * @returns {Choice}
 */
export function toggled({ ids }, position, [id]) {
  const chosen = new Set(ids);
  if (id !== undefined && !chosen.delete(id)) chosen.add(id);
  return { ids: chosen, current: position, anchor: position };
}

/**
 * From the anchor to a position; `add` keeps what was chosen before.
 * @param {Choice} choice
 * @param {number} position
 * @param {number[]} ids  of all between
 * @param {boolean} [add]
 * @returns {Choice}
 */
export function extended({ ids: before, anchor }, position, ids, add = false) {
  return { ids: new Set(add ? [...before, ...ids] : ids), current: position, anchor };
}

/**
 * Where a key leads from a position; undefined: it is no key for that.
 * @param {string} key
 * @param {number} from
 * @param {{ count: number, columns: number, rows: number }} grid  rows: that are seen at once
 */
export function led(key, from, { count, columns, rows }) {
  /** @type {Record<string, number>} */
  const moves = {
    ArrowLeft: -1,
    ArrowRight: 1,
    ArrowUp: -columns,
    ArrowDown: columns,
    PageUp: -columns * rows,
    PageDown: columns * rows,
    Home: -Infinity,
    End: Infinity,
  };
  const by = moves[key];
  return by === undefined ? undefined : Math.max(0, Math.min(count - 1, from + by));
}
