// What kernel and browser say to each other. Text is shown literally, never as HTML.

import type { AnyModel } from "@anywidget/types";

/** A picture in a grid. */
export interface Face {
  alt: string;
  /** Width and height in pixels, if there is a picture. */
  size: number[];
  starred: boolean;
}

/** A picture of the viewer, as the kernel tells all of it. */
export interface Picture extends Face {
  /** In the library; null: it is in none. */
  id: number | null;
  prompt: string;
  rewritten: string;
  facts: string[];
  /** Seconds since 1970, UTC. */
  created: number;
  tags: string[];
  /** Names of what it was made from. */
  inputs: string[];
  cell: string;
  error: string;
  lineage: { ancestors: number[]; descendants: number[] };
  media_type: string;
}

/** A card of the panel. */
export interface Card extends Face {
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

/** Values of the panel's form; those of other options by their names. */
export interface FormValues {
  prompt: string;
  model: string;
  inputs: Input[];
  rewrite: boolean;
  export: boolean;
  folder: string;
  // biome-ignore lint/suspicious/noExplicitAny: the table of options is the kernel's
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

export type PanelModel = AnyModel<{
  /** Those in front of it are visitors of an app: nothing is written. */
  visitors: boolean;
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
}>;

/** A row of the library. */
export interface Row extends Face {
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

/** The first rows, and thumbnails that are at hand. */
export interface Sight {
  rows: Row[];
  ids: number[];
  buffers: DataView<ArrayBuffer>[];
}

/** What a search has found. */
export interface Result extends Sight {
  count: number;
  bytes: number;
  /** What the user should know of the library. */
  notice: string;
}

/** What there is to choose from, in the whole library; it follows a `Result`. */
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

export type LibraryModel = AnyModel<{
  visitors: boolean;
  words: string;
  order: string;
  filters: Filters;
}>;
