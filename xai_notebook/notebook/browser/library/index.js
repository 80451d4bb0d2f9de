// @ts-nocheck
// The library as an anywidget.

import "../panel/panel.css";
import "./library.css";
import { LibraryView } from "./library.js";
import { LibraryStore } from "./store.js";

export default () => {
  let store;
  return {
    initialize({ model }) {
      store = new LibraryStore(model);
    },
    render({ model, el }) {
      const view = new LibraryView(model, store);
      el.append(view.element);
      return view.start();
    },
  };
};
