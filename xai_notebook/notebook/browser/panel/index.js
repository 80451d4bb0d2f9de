// The panel as an anywidget.

import "../shared/shared.css";
import "../shared/viewer.css";
import "./panel.css";
import { showInFull } from "../shared/elements.js";
import { View } from "./panel.js";
import { Store } from "./store.js";

/** @type {() => import("@anywidget/types").AnyWidget} */
export default () => {
  /** @type {Store} */
  let store;
  return {
    initialize({ model }) {
      store = new Store(model);
    },
    render({ model, el }) {
      const view = new View(/** @type {import("../messages.js").PanelModel} */ (model), store);
      el.append(view.element);
      showInFull(el);
      return view.start();
    },
  };
};
