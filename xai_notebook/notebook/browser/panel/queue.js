// Generations that wait, run or failed.

import { button, h, keepList, part, setText } from "../shared/elements.js";

/** @typedef {import("../messages.js").Job} Job */

const UNDER_WAY = new Set(["queued", "running"]); // states of a generation that has not ended

/**
 * A generation when its kernel is gone.
 * @param {Job} job
 * @returns {Job}
 */
export const ended = (job) =>
  UNDER_WAY.has(job.state) ? { ...job, state: "gone", line: "Ended with its kernel." } : job;

export class Queue {
  /**
   * @param {(kind: string, id: string) => void} tell
   * @param {() => void} emptied  the generation that had the focus is gone
   */
  constructor(tell, emptied) {
    this.tell = tell;
    this.emptied = emptied;
    const list = { class: "xai-jobs", role: "list", "aria-label": "Generations", hidden: true };
    this.element = h("ul", list);
  }

  /**
   * Show them; returns whether any is under way.
   * @param {Job[]} jobs
   */
  show(jobs) {
    keepList(this.element, jobs, {
      make: (job) => this.#make(job),
      update: (element, job) => this.#refresh(element, job),
      empty: this.emptied,
    });
    return jobs.some((job) => UNDER_WAY.has(job.state));
  }

  /** @param {Job} job */
  #make({ id, prompt }) {
    const again = button("Try again", () => this.tell("again", id), {
      class: "xai-small xai-again",
      "aria-label": `Try again: ${prompt.slice(0, 60)}`,
    });
    const end = button(
      "",
      () => this.tell(UNDER_WAY.has(item.dataset.state ?? "") ? "cancel" : "dismiss", id),
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
    part(element, ".xai-again").hidden = state === "gone" || UNDER_WAY.has(state);
    const label = UNDER_WAY.has(state) ? "Cancel" : "Dismiss";
    const end = part(element, ".xai-ending");
    setText(end, label);
    end.hidden = state === "gone";
    end.setAttribute("aria-label", `${label}: ${prompt.slice(0, 60)}`);
  }
}
