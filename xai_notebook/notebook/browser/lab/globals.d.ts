// The object in which JupyterLab looks for the modules of extensions.
declare var _JUPYTERLAB: Record<
  string,
  { init(scope: object): void; get(name: string): Promise<() => object> }
>;
