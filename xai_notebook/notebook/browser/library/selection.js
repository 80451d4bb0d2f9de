// The selection of a grid, by ids, and the keyboard's position, without elements.

/**
 * @typedef {object} Selection
 * @property {Set<number>} ids
 * @property {number} current  the keyboard's position
 * @property {number} anchor  position from which Shift extends
 */

/** @returns {Selection} */
export const emptySelection = () => ({ ids: new Set(), current: 0, anchor: 0 });

/**
 * @param {Selection} selection
 * @param {number} position
 * @param {number[]} ids  of the picture at the position, if any
 * @returns {Selection}
 */
export function toggled({ ids }, position, [id]) {
  const chosen = new Set(ids);
  if (id !== undefined && !chosen.delete(id)) chosen.add(id);
  return { ids: chosen, current: position, anchor: position };
}

/**
 * Select from the anchor to a position; `add` keeps what was selected before.
 * @param {Selection} selection
 * @param {number} position
 * @param {number[]} ids  of the pictures from the anchor to the position
 * @param {boolean} [add]
 * @returns {Selection}
 */
export function extended({ ids: before, anchor }, position, ids, add = false) {
  return { ids: new Set(add ? [...before, ...ids] : ids), current: position, anchor };
}

/**
 * The position that a key moves to; undefined for other keys.
 * @param {string} key
 * @param {number} from
 * @param {{ count: number, columns: number, rows: number }} grid  `rows`: visible at the same time
 */
export function positionAfterKey(key, from, { count, columns, rows }) {
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
