export interface InstallOptions {
  /** What is looked after: the document, or the root of a shadow tree. */
  root?: Document | ShadowRoot;
  /** The folder that the weights lie in, a URL that ends in a slash; `dist/` beside this module by default. */
  weights?: string | URL | null;
  /** As in `decode`. */
  maxPixels?: number;
}

/**
 * Shows every <img> whose file is named .cwic, those that are there and those to come, and pictures of styles,
 * `url(photo.cwic)`; decoded in a worker. A file that
 * arrives slowly is shown in coarser pictures before; `load` is told of the whole one. A bad file makes the element fire
 * `error`, a CustomEvent with the CwicError as `detail`. Returns a function that ends it.
 */
export function install(options?: InstallOptions): () => void;

/**
 * A function that decodes the file at a URL in a worker to a Blob of PNG; it rejects with CwicError. `early`, if given,
 * gets coarser pictures of a file that arrives slowly, at most three, before.
 */
export function pictures(
  options?: Omit<InstallOptions, "root">,
): (url: string | URL, early?: (png: Blob) => void) => Promise<Blob>;
