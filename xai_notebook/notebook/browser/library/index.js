// The library as an anywidget.

import "../shared/shared.css";
import "../shared/viewer.css";
import "./library.css";
import { showInFull } from "../shared/elements.js";
import { LibraryView } from "./library.js";
import { LibraryStore } from "./store.js";

/** @type {() => import("@anywidget/types").AnyWidget} */
export default () => {
  /** @type {LibraryStore} */
  let store;
  return {
    initialize({ model }) {
      store = new LibraryStore(model);
    },
    render({ model, el }) {
      const view = new LibraryView(
        /** @type {import("../messages.js").LibraryModel} */ (model),
        store,
      );
      el.append(view.element);
      showInFull(el);
      return view.start();
    },
  };
};
