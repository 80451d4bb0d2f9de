// @ts-nocheck
// The panel as an anywidget.

import "./panel.css";
import { View } from "./panel.js";
import { Store } from "./store.js";

export default () => {
  let store;
  return {
    initialize({ model }) {
      store = new Store(model);
    },
    render({ model, el }) {
      const view = new View(model, store);
      el.append(view.element);
      return view.start();
    },
  };
};
