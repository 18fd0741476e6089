// Makes <img src="photo.cwic"> work in a page. Browsers try such a file, and say that they cannot show it: then it is
// decoded in a worker and shown as a PNG. So loading="lazy" holds, and the file comes out of the browser's cache.

import { CwicError } from "./container.js";

const NAME = /\.cwic(?:[?#]|$)/i;

/** Decodes pictures in a worker of its own, one after another. */
class Pictures {
  constructor(options) {
    this.options = options;
    this.waiting = new Map();
    this.count = 0;
    this.worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    this.worker.addEventListener("message", ({ data: { id, png, error } }) => {
      const { resolve, reject } = this.waiting.get(id);
      this.waiting.delete(id);
      if (png) resolve(png);
      else reject(new CwicError(error));
    });
    this.worker.addEventListener("error", (event) => {
      for (const { reject } of this.waiting.values()) reject(new CwicError(`worker: ${event.message}`));
      this.waiting.clear();
    });
  }

  /** The picture at a URL, a Blob of PNG; rejects with CwicError. */
  get(url) {
    const id = this.count++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, url, options: this.options });
    });
  }
}

/** `get(url)` decodes the file at a URL, in a worker, to a Blob of PNG; rejects with CwicError. */
export function pictures({ weights = null, maxPixels } = {}) {
  const made = new Pictures({ weights: weights && String(new URL(weights, document.baseURI)), maxPixels });
  return (url) => made.get(String(new URL(url, document.baseURI)));
}

/** Makes an element show `url` alone, whatever its srcset or its <picture> offers; data-cwic-srcset keeps that. */
function pin(img, url) {
  const sources = img.parentElement instanceof HTMLPictureElement ? img.parentElement.querySelectorAll("source") : [];
  for (const each of [img, ...sources]) {
    if (!each.srcset) continue;
    each.dataset.cwicSrcset = each.srcset;
    each.removeAttribute("srcset");
  }
  img.src = url;
}

/**
 * Shows every <img> of `root` whose file is named .cwic, those that are there and those to come. A bad file makes the
 * element fire `error`, as <img> does, with the CwicError as `detail`. Returns a function that ends it.
 */
export function install({ root = document, weights = null, maxPixels } = {}) {
  const get = pictures({ weights, maxPixels });
  const begun = new WeakMap(); // for each element, the URL that it was last decoded for

  async function show(img, url) {
    begun.set(img, url);
    try {
      const png = await get(url);
      if (img.currentSrc !== url) return; // it shows something else by now
      const shown = URL.createObjectURL(png);
      img.addEventListener("load", () => URL.revokeObjectURL(shown), { once: true });
      img.dataset.cwic = url;
      pin(img, shown);
    } catch (error) {
      if (img.currentSrc === url) img.dispatchEvent(new CustomEvent("error", { detail: error }));
    }
  }

  function failed(event) {
    const img = event.target;
    if (event instanceof CustomEvent || !(img instanceof HTMLImageElement) || !NAME.test(img.currentSrc)) return;
    event.stopImmediatePropagation(); // nobody else needs to know yet
    show(img, img.currentSrc);
  }

  function look(node) {
    const found = node instanceof HTMLImageElement ? [node] : node.querySelectorAll?.("img") ?? [];
    for (const img of found) {
      const url = img.currentSrc;
      if (img.complete && !img.naturalWidth && NAME.test(url) && begun.get(img) !== url) show(img, url);
    }
  }

  const observer = new MutationObserver((changes) => changes.forEach((each) => each.addedNodes.forEach(look)));
  root.addEventListener("error", failed, true);
  observer.observe(root, { childList: true, subtree: true });
  look(root);
  return () => {
    root.removeEventListener("error", failed, true);
    observer.disconnect();
  };
}
