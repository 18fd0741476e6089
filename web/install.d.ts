export interface InstallOptions {
  /** What is looked after: the document, or the root of a shadow tree. */
  root?: Document | ShadowRoot;
  /** The folder that the weights lie in, a URL that ends in a slash; `dist/` beside this module by default. */
  weights?: string | URL | null;
  /** As in `decode`. */
  maxPixels?: number;
}

/** Shows every <img> whose file is named .cwic, those that are there and those to come; decoded in a worker. A bad file
 * makes the element fire `error`, a CustomEvent with the CwicError as `detail`. Returns a function that ends it. */
export function install(options?: InstallOptions): () => void;

/** A function that decodes the file at a URL in a worker to a Blob of PNG; it rejects with CwicError. */
export function pictures(options?: Omit<InstallOptions, "root">): (url: string | URL) => Promise<Blob>;
