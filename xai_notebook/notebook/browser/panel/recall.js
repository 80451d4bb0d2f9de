// Up and down at the ends of a text area bring back earlier texts.

/**
 * The next index in a list of texts, oldest first; the index after the last is the draft.
 * @param {string[]} texts
 * @param {number | undefined} from
 * @param {boolean} up
 * @param {string} value  the present text
 * @returns {number | undefined} undefined: there are no more texts
 */
export function nextIndex(texts, from, up, value) {
  const here = from === undefined || texts[from] !== value ? texts.length : from;
  let at = here + (up ? -1 : 1);
  if (up && texts[at] === value) at -= 1;
  return at < 0 || at > texts.length || at === here ? undefined : at;
}

/**
 * @param {HTMLTextAreaElement} area
 * @param {() => string[]} texts
 * @param {() => void} changed
 */
export function recall(area, texts, changed) {
  /** @type {number | undefined} */
  let recalled;
  let draft = "";
  area.addEventListener("keydown", (event) => {
    const up = event.key === "ArrowUp";
    if (!up && event.key !== "ArrowDown") return;
    if (event.shiftKey || event.ctrlKey || event.metaKey || event.altKey) return;
    const { value, selectionStart, selectionEnd } = area;
    const beside = up ? value.slice(0, selectionStart) : value.slice(selectionEnd);
    if (beside.includes("\n") || (up && selectionEnd !== selectionStart)) return;
    const known = texts();
    if (recalled === undefined || known[recalled] !== value) draft = value;
    const at = nextIndex(known, recalled, up, value);
    if (at === undefined) return;
    event.preventDefault();
    recalled = at;
    area.value = known[at] ?? draft;
    const end = up ? 0 : area.value.length;
    area.setSelectionRange(end, end);
    changed();
  });
}
