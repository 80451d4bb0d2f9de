// Generations that wait, run or failed.

import { button, h, keepList, part, setText } from "../shared/elements.js";

/** @typedef {import("../messages.js").Job} Job */

const ACTIVE = new Set(["queued", "running"]);

/**
 * A generation after its kernel has ended.
 * @param {Job} job
 * @returns {Job}
 */
export const ended = (job) =>
  ACTIVE.has(job.state) ? { ...job, state: "gone", line: "Stopped: the kernel ended." } : job;

export class Queue {
  /**
   * @param {(kind: string, id: string) => void} send
   * @param {() => void} focusLost  called when the focused generation was removed
   */
  constructor(send, focusLost) {
    this.send = send;
    this.focusLost = focusLost;
    const list = { class: "xai-jobs", role: "list", "aria-label": "Generations", hidden: true };
    this.element = h("ul", list);
  }

  /**
   * Show generations; returns whether any waits or runs.
   * @param {Job[]} jobs
   */
  show(jobs) {
    keepList(this.element, jobs, {
      make: (job) => this.#make(job),
      update: (element, job) => this.#refresh(element, job),
      focusLost: this.focusLost,
    });
    return jobs.some((job) => ACTIVE.has(job.state));
  }

  /** @param {Job} job */
  #make({ id, prompt }) {
    const again = button("Try again", () => this.send("again", id), {
      class: "xai-small xai-again",
      "aria-label": `Try again: ${prompt.slice(0, 60)}`,
    });
    const end = button(
      "",
      () => this.send(ACTIVE.has(item.dataset.state ?? "") ? "cancel" : "dismiss", id),
      { class: "xai-small xai-ending" },
    );
    const item = h(
      "li",
      { class: "xai-job" },
      h("span", { class: "xai-spinner", "aria-hidden": "true" }),
      h(
        "div",
        { class: "xai-jobtext" },
        h("span", { class: "xai-jobprompt", dir: "auto" }, prompt),
        h("span", { class: "xai-jobline" }),
      ),
      again,
      end,
    );
    return item;
  }

  /**
   * @param {HTMLElement} element
   * @param {Job} job
   */
  #refresh(element, { prompt, state, line }) {
    element.dataset.state = state;
    const text = part(element, ".xai-jobline");
    if (state === "failed" && text.getAttribute("role") !== "alert")
      text.setAttribute("role", "alert");
    setText(text, line);
    part(element, ".xai-again").hidden = state === "gone" || ACTIVE.has(state);
    const label = ACTIVE.has(state) ? "Cancel" : "Dismiss";
    const end = part(element, ".xai-ending");
    setText(end, label);
    end.hidden = state === "gone";
    end.setAttribute("aria-label", `${label}: ${prompt.slice(0, 60)}`);
  }
}
