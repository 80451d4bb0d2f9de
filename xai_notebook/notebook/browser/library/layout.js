// The geometry of a virtual grid of squares, without elements.

export const GAP = 8;
const TILE = 168; // minimum side in pixels
const NARROW = 84; // minimum side where fewer than three tiles of the usual size fit
const EXTRA_ROWS = 2; // additional rows in the page, above and below the visible ones

/** @typedef {{ columns: number, side: number, step: number, height: number }} Layout */

/**
 * @param {number} width  of the frame
 * @param {number} count
 * @returns {Layout}
 */
export function layOut(width, count) {
  const room = width - GAP;
  const minSide = room < 3 * (TILE + GAP) ? NARROW : TILE;
  const columns = Math.max(1, Math.floor(room / (minSide + GAP)));
  const side = Math.floor(room / columns) - GAP;
  const step = side + GAP;
  return { columns, side, step, height: Math.ceil(count / columns) * step + GAP };
}

/**
 * @param {Layout} layout
 * @param {number} position
 */
export function offsetOf({ columns, step }, position) {
  return {
    left: GAP + (position % columns) * step,
    top: GAP + Math.floor(position / columns) * step,
  };
}

/**
 * The positions that are in the page, from `first` up to but not including `last`.
 * @param {Layout} layout
 * @param {number} top  the scroll offset
 * @param {number} height  of the frame
 * @param {number} count
 */
export function tilesInPage({ columns, step }, top, height, count) {
  const first = Math.max(0, Math.floor(top / step) - EXTRA_ROWS) * columns;
  const last = Math.min(count, (Math.ceil((top + height) / step) + EXTRA_ROWS) * columns);
  return { first, last };
}

/**
 * The scroll offset at which a position is visible, nearest to the present offset.
 * @param {Layout} layout
 * @param {number} position
 * @param {number} scrolled  the present scroll offset
 * @param {number} height  of the frame
 */
export function scrollTo({ columns, step }, position, scrolled, height) {
  const top = Math.floor(position / columns) * step;
  if (top < scrolled) return top;
  return Math.max(scrolled, top + step + GAP - height);
}
