// The geometry of a picture in its frame, without elements.

/**
 * @typedef {{ x: number, y: number }} Point  in pixels, from the middle of the frame
 * @typedef {{ zoom: number, x: number, y: number }} Look  `zoom`: factor of the fitted size; `x`, `y`: offset of the picture's middle
 * @typedef {{ width: number, height: number }} Size
 */

export const MAX_ZOOM = 16;

/** @type {Look} */
export const FITTED = { zoom: 1, x: 0, y: 0 };

/**
 * The size at which a whole picture fits into the frame, at most its own size.
 * @param {Size} picture
 * @param {Size} frame
 * @returns {Size}
 */
export function fit({ width, height }, frame) {
  const scale = Math.min(1, frame.width / width, frame.height / height);
  return { width: width * scale, height: height * scale };
}

/**
 * Zoom; the pixel at `point` stays in place.
 * @param {Look} look
 * @param {number} zoom
 * @param {Size} drawn  fitted size
 * @param {Size} frame
 * @param {Point} [point]
 */
export function zoomTo(look, zoom, drawn, frame, point = { x: 0, y: 0 }) {
  const wanted = Math.max(1, Math.min(MAX_ZOOM, zoom));
  const factor = wanted / look.zoom;
  const x = point.x - (point.x - look.x) * factor;
  const y = point.y - (point.y - look.y) * factor;
  return keepInFrame({ zoom: wanted, x, y }, drawn, frame);
}

/**
 * Keep the edges of an enlarged picture outside the frame, and a smaller one in the middle.
 * @param {Look} look
 * @param {Size} drawn
 * @param {Size} frame
 * @returns {Look}
 */
export function keepInFrame({ zoom, x, y }, drawn, frame) {
  const across = Math.max(0, (drawn.width * zoom - frame.width) / 2);
  const down = Math.max(0, (drawn.height * zoom - frame.height) / 2);
  return { zoom, x: clamp(x, -across, across), y: clamp(y, -down, down) };
}

/**
 * @param {number} value
 * @param {number} min
 * @param {number} max
 */
export function clamp(value, min, max) {
  return Math.max(min, Math.min(max, value)) + 0; // + 0: never -0
}
