// @ts-nocheck
// A picture, or two on top of each other, that can be enlarged and moved.

import { h } from "./elements.js";

const MOST_ZOOM = 16;
const STEP = 60; // pixels that an arrow key moves an enlarged picture

export class Stage {
  constructor() {
    this.element = h("div", {
      class: "xai-view",
      tabindex: 0,
      role: "group",
      "data-lm-suppress-shortcuts": "true",
      "aria-label": "Picture. Plus and minus zoom, 1 is full size, 0 fits, arrows move it.",
      onwheel: (event) => this.wheel(event),
      ondblclick: () => (this.zoom > 1 ? this.fit() : this.whole()),
      onpointerdown: (event) => this.grab(event),
    });
    this.fit();
  }

  /** `images` stand on top of each other. */
  show(...images) {
    this.element.replaceChildren(...images);
    this.fit();
  }

  fit() {
    this.zoom = 1;
    this.left = this.top = 0;
    this.draw();
  }

  /** One pixel of the picture on one of the screen. */
  whole() {
    const [image] = this.element.children;
    if (image?.naturalWidth) this.zoomTo(image.naturalWidth / devicePixelRatio / image.offsetWidth);
  }

  zoomTo(zoom) {
    this.zoom = Math.max(0.2, Math.min(MOST_ZOOM, zoom));
    this.draw();
  }

  pan(x, y) {
    this.left += x;
    this.top += y;
    this.draw();
  }

  draw() {
    const plain = this.zoom === 1 && !this.left && !this.top;
    const moved = plain ? "" : `translate(${this.left}px, ${this.top}px) scale(${this.zoom})`;
    for (const image of this.element.children) image.style.transform = moved;
    this.element.classList.toggle("xai-zoomed", this.zoom > 1);
  }

  wheel(event) {
    event.preventDefault();
    this.zoomTo(this.zoom * (event.deltaY < 0 ? 1.15 : 1 / 1.15));
  }

  grab(event) {
    if (this.zoom === 1 || event.button !== 0) return;
    event.preventDefault();
    this.element.focus();
    this.element.setPointerCapture(event.pointerId);
    const move = ({ movementX, movementY }) => this.pan(movementX, movementY);
    const stop = () => this.element.removeEventListener("pointermove", move);
    this.element.addEventListener("pointermove", move);
    for (const kind of ["pointerup", "pointercancel"])
      this.element.addEventListener(kind, stop, { once: true });
  }

  /** Tell whether a key was for the stage. */
  key(key) {
    const moves = {
      ArrowLeft: [STEP, 0],
      ArrowRight: [-STEP, 0],
      ArrowUp: [0, STEP],
      ArrowDown: [0, -STEP],
    };
    if (key === "+" || key === "=") this.zoomTo(this.zoom * 1.5);
    else if (key === "-") this.zoomTo(this.zoom / 1.5);
    else if (key === "0") this.fit();
    else if (key === "1") this.whole();
    else if (key in moves && this.zoom > 1) this.pan(...moves[key]);
    else return false;
    return true;
  }
}
