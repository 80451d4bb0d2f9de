// Files and cards can be dropped anywhere on the panel, and files pasted.

import { CARD } from "./store.js";

/**
 * @param {HTMLElement} element
 * @param {object} handlers
 * @param {(on: boolean) => void} handlers.over  a file or card is dragged over the panel
 * @param {(id: string) => boolean} handlers.card  returns whether the panel has the card
 * @param {(files: FileList, target?: Node) => void} handlers.files  `target`: where the files were dropped
 */
export function acceptDrops(element, { over, card, files }) {
  const consume = (/** @type {Event} */ event) => {
    event.preventDefault();
    event.stopPropagation();
  };
  const onDrag = (/** @type {DragEvent} */ event) => {
    const types = event.dataTransfer?.types ?? [];
    if (!types.includes(CARD) && !types.includes("Files")) return;
    consume(event);
    over(true);
  };
  element.addEventListener("dragenter", onDrag);
  element.addEventListener("dragover", onDrag);
  element.addEventListener("dragleave", ({ relatedTarget }) => {
    if (!element.contains(/** @type {Node | null} */ (relatedTarget))) over(false);
  });
  element.addEventListener("dragend", () => over(false));
  element.addEventListener("drop", (event) => {
    over(false);
    const { dataTransfer, target } = event;
    if (!dataTransfer) return;
    if (card(dataTransfer.getData(CARD))) consume(event);
    else if (dataTransfer.files.length) {
      consume(event);
      files(dataTransfer.files, /** @type {Node} */ (target));
    }
  });
  element.addEventListener("paste", (event) => {
    const { clipboardData } = event;
    if (!clipboardData?.files.length) return;
    consume(event);
    files(clipboardData.files);
  });
}
