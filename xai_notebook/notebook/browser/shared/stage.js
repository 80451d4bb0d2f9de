// A picture, or two on top of each other, with zoom and panning.

import { clamp, FITTED, fit, keepInFrame, zoomTo } from "./arithmetic.js";
import { h } from "./elements.js";

const STEP = 60; // pixels that an arrow key moves an enlarged picture
/** @type {Record<string, [number, number]>} */
const MOVES = {
  ArrowLeft: [STEP, 0],
  ArrowRight: [-STEP, 0],
  ArrowUp: [0, STEP],
  ArrowDown: [0, -STEP],
};

export class Stage {
  look = FITTED;
  /** @type {HTMLImageElement[]} */
  images = [];
  picture = { width: 1, height: 1 };
  /** Positions of the pointers that are down. @type {Map<number, { x: number, y: number }>} */
  #pointers = new Map();

  /** @param {(percent: number) => void} changed  called with the zoom in percent of the full size */
  constructor(changed) {
    this.changed = changed;
    this.handle = h("span", { class: "xai-handle", hidden: true, "aria-hidden": "true" });
    this.plane = h("div", { class: "xai-plane" }, this.handle);
    this.slider = h("input", {
      type: "range",
      class: "xai-slider",
      min: 0,
      max: 100,
      step: "any",
      value: 50,
      "aria-label": "Visible part of the first picture",
      oninput: () => this.#cut(),
      onkeydown: (event) => this.#slide(event),
    });
    /** @type {HTMLDivElement} */
    this.element = h(
      "div",
      {
        class: "xai-view",
        tabindex: 0,
        role: "group",
        "data-lm-suppress-shortcuts": "true",
        "aria-label": "Picture. Plus and minus zoom, 1 is full size, 0 fits, arrows move it.",
        ondblclick: (event) => this.#magnify(event),
        onpointerdown: (event) => this.#grab(event),
        onpointermove: (event) => this.#move(event),
        onpointerup: (event) => this.#pointers.delete(event.pointerId),
        onpointercancel: (event) => this.#pointers.delete(event.pointerId),
      },
      this.plane,
    );
    // Browsers scroll the page unless the listener is registered as not passive.
    this.element.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    this.watch = new ResizeObserver(() => this.draw());
    this.watch.observe(this.element);
  }

  /**
   * Show one picture, or two on top of each other with a slider between them.
   * @param {HTMLImageElement[]} images
   * @param {number[]} size  of the first picture, in pixels; empty: unknown until it is loaded
   */
  show(images, size = []) {
    this.images = images;
    const [first, second] = images;
    const [width = 0, height = 0] = size;
    this.picture = { width: width || 1, height: height || 1 };
    const measure = () => {
      if (this.images[0] !== first || width || !first?.naturalWidth) return;
      this.picture = { width: first.naturalWidth, height: first.naturalHeight };
      this.draw();
    };
    first?.addEventListener("load", measure);
    this.plane.replaceChildren(...images, this.handle);
    this.handle.hidden = this.slider.hidden = !second;
    this.slider.value = "50";
    if (second) this.#cut();
    measure();
    this.fit();
  }

  get frame() {
    return { width: this.element.clientWidth, height: this.element.clientHeight };
  }

  get drawn() {
    return fit(this.picture, this.frame);
  }

  fit() {
    this.look = FITTED;
    this.draw();
  }

  /** Show one pixel of the picture on one pixel of the screen. */
  fullSize(point = { x: 0, y: 0 }) {
    const zoom = this.picture.width / devicePixelRatio / this.drawn.width;
    this.zoom(zoom / this.look.zoom, point);
  }

  /** @param {number} times */
  zoom(times, point = { x: 0, y: 0 }) {
    this.look = zoomTo(this.look, this.look.zoom * times, this.drawn, this.frame, point);
    this.draw();
  }

  /**
   * @param {number} x
   * @param {number} y
   */
  pan(x, y) {
    const moved = { ...this.look, x: this.look.x + x, y: this.look.y + y };
    this.look = keepInFrame(moved, this.drawn, this.frame);
    this.draw();
  }

  draw() {
    const { width, height } = this.drawn;
    const { zoom, x, y } = this.look;
    this.plane.style.cssText =
      `width: ${width}px; height: ${height}px; ` +
      `transform: translate(${x}px, ${y}px) scale(${zoom}); --xai-zoom: ${zoom}`;
    this.element.classList.toggle("xai-zoomed", zoom > 1);
    const pixels = this.drawn.width * zoom * devicePixelRatio;
    this.changed(Math.round((pixels / this.picture.width) * 100));
  }

  /** @param {MouseEvent} event */
  #magnify(event) {
    if (this.look.zoom > 1) this.fit();
    else this.fullSize(this.#offsetOf(event));
  }

  /** Clip the second picture, which lies on the first, to the part right of the handle. */
  #cut() {
    const [, upper] = this.images;
    if (upper) upper.style.clipPath = `inset(0 0 0 ${this.slider.value}%)`;
    this.handle.style.left = `${this.slider.value}%`;
  }

  /** Keys move the slider by 1 %: its step is "any". @param {KeyboardEvent} event */
  #slide(event) {
    /** @type {Record<string, number>} */
    const moves = {
      ArrowLeft: -1,
      ArrowDown: -1,
      ArrowRight: 1,
      ArrowUp: 1,
      PageDown: -10,
      PageUp: 10,
    };
    const by = moves[event.key];
    if (by === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    this.slider.value = String(clamp(Number(this.slider.value) + by, 0, 100));
    this.#cut();
  }

  /** @param {MouseEvent} event @returns the offset from the middle of the frame */
  #offsetOf({ clientX, clientY }) {
    const { left, top, width, height } = this.element.getBoundingClientRect();
    return { x: clientX - left - width / 2, y: clientY - top - height / 2 };
  }

  /** @param {WheelEvent} event */
  #wheel(event) {
    event.preventDefault();
    this.zoom(
      1.0015 ** -clamp(event.deltaY * (event.deltaMode ? 30 : 1), -240, 240),
      this.#offsetOf(event),
    );
  }

  /** @param {PointerEvent} event */
  #grab(event) {
    if (event.button !== 0) return;
    this.#pointers.set(event.pointerId, this.#offsetOf(event));
    this.element.setPointerCapture(event.pointerId);
    this.sliding = event.target === this.handle || (this.images.length > 1 && this.look.zoom === 1);
    if (this.sliding) this.#slideTo(event);
  }

  /** @param {PointerEvent} event */
  #move(event) {
    const before = this.#pointers.get(event.pointerId);
    if (!before) return;
    const [other] = [...this.#pointers]
      .filter(([id]) => id !== event.pointerId)
      .map(([, at]) => at);
    const now = this.#offsetOf(event);
    this.#pointers.set(event.pointerId, now);
    if (other) {
      const distance = (/** @type {typeof now} */ { x, y }) => Math.hypot(x - other.x, y - other.y);
      this.zoom(distance(now) / (distance(before) || 1), other);
    } else if (this.sliding) this.#slideTo(event);
    else this.pan(now.x - before.x, now.y - before.y);
  }

  /** @param {PointerEvent} event */
  #slideTo({ clientX }) {
    const { left, width } = this.plane.getBoundingClientRect();
    this.slider.value = String(clamp(((clientX - left) / width) * 100, 0, 100));
    this.#cut();
  }

  /**
   * Handle a key; returns whether the key has a meaning here.
   * @param {string} key
   */
  key(key) {
    const move = MOVES[key];
    if (key === "+" || key === "=") this.zoom(1.5);
    else if (key === "-") this.zoom(1 / 1.5);
    else if (key === "0") this.fit();
    else if (key === "1") this.fullSize();
    else if (move && this.look.zoom > 1) this.pan(...move);
    else return false;
    return true;
  }
}
