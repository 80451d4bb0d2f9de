// Messages and synced state between kernel and browser. Text is shown literally, never as HTML.

import type { AnyModel } from "@anywidget/types";

/** A picture in a grid. */
export interface GridPicture {
  alt: string;
  /** Width and height in pixels, if there is a picture. */
  size: number[];
  starred: boolean;
}

/** A picture in the viewer. */
export interface Picture extends GridPicture {
  /** Id in the library; null: not in a library. */
  id: number | null;
  prompt: string;
  rewritten: string;
  facts: string[];
  /** Seconds since 1970, UTC. */
  created: number;
  tags: string[];
  /** Names of its input images. */
  inputs: string[];
  cell: string;
  error: string;
  lineage: { ancestors: number[]; descendants: number[] };
  media_type: string;
}

/** A card of the panel. */
export interface Card extends GridPicture {
  id: string;
  picture: number | null;
  group: number;
  name: string;
  ok: boolean;
  title: string;
  error: string;
  label: string;
  asked: string;
  prompt: string;
  /** Whether `prompt` is a rewritten prompt; `asked` is always the user's. */
  written: boolean;
  facts: string[];
  replayed: boolean;
  tags: string[];
  saved: string;
  trouble: string;
}

/** A generation of the panel. */
export interface Job {
  id: string;
  prompt: string;
  state: string;
  line: string;
  n: number;
  shape: string;
}

export interface Input {
  id: string;
  name: string;
}

/** Values of the panel's form; other options by their names. */
export interface FormValues {
  prompt: string;
  model: string;
  inputs: Input[];
  rewrite: boolean;
  export: boolean;
  folder: string;
  // biome-ignore lint/suspicious/noExplicitAny: the kernel defines the options
  [option: string]: any;
}

export interface Model {
  name: string;
  price: number | null;
  edits: boolean;
  quality: boolean;
  unknown?: boolean;
}

export interface Option {
  name: string;
  label: string;
  values: string[] | null;
  open: boolean;
}

/** State of every widget. */
export interface SharedState {
  /** The user is a visitor of an app, and may change nothing. */
  visitors: boolean;
  /** IPython runs the cell, which gets outputs, variables and magics; false in marimo and Solara. */
  cells: boolean;
  /** Number of changes that other cells of marimo can see, and the last number that the page knows. */
  revision: number;
  seen: number;
}

export type PanelModel = AnyModel<
  SharedState & {
    form: FormValues;
    choices: { max_images: number; max_inputs: number; timeout: number; fields: Option[] };
    models: Model[];
    asking: boolean;
    models_note: string;
    destination: string;
    jobs: Job[];
    cards: Card[];
    prompts: string[];
    cell: string;
    cell_note: string;
    cell_id: string;
    earlier: number;
    expected: (number | null)[];
    spent: string;
    saved: string;
    trouble: string;
    notice: string;
    said: { number: number; text: string };
    local: boolean;
  }
>;

/** A row of the library. */
export interface Row extends GridPicture {
  id: number;
  prompt: string;
  status: string;
  tags: string[];
  deleted: boolean;
  facts: string[];
}

export interface Choice {
  name: string;
  count: number;
}

/** The first rows, and their cached thumbnails. */
export interface Screenful {
  rows: Row[];
  ids: number[];
  buffers: DataView<ArrayBuffer>[];
}

/** The result of a query. */
export interface Result extends Screenful {
  count: number;
  bytes: number;
  /** A warning about the library. */
  notice: string;
}

/** Values of the filters in the whole library; sent after a `Result`. */
export interface Choices {
  models: Choice[];
  tags: Choice[];
  statuses: Choice[];
  backends: Choice[];
}

export interface Filters {
  model: string | null;
  tag: string | null;
  since: number | null;
  until: number | null;
  starred: boolean | null;
  status: string;
  backend: string | null;
  notebook: boolean;
}

export type LibraryModel = AnyModel<
  SharedState & {
    words: string;
    order: string;
    filters: Filters;
  }
>;
