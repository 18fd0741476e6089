// Makes <img src="photo.cwic"> work in a page, and url(photo.cwic) in its styles. Browsers try such a file, and say that
// they cannot show it: then it is decoded in a worker and shown as a PNG. So loading="lazy" holds.

import { backgrounds } from "./backgrounds.js";
import { CwicError, NAMED } from "./container.js";

/** Decodes pictures in a worker of its own. */
class Pictures {
  constructor(options) {
    this.options = options;
    this.waiting = new Map();
    this.count = 0;
    this.worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
    this.worker.addEventListener("message", ({ data: { id, png, early, error } }) => {
      const { resolve, reject, show } = this.waiting.get(id);
      if (early) return show(png);
      this.waiting.delete(id);
      if (png) resolve(png);
      else reject(new CwicError(error));
    });
    this.worker.addEventListener("error", (event) => {
      for (const { reject } of this.waiting.values()) reject(new CwicError(`worker: ${event.message}`));
      this.waiting.clear();
    });
  }

  /** The picture at a URL, a Blob of PNG; `show`, if given, gets coarser ones before. Rejects with CwicError. */
  get(url, show) {
    const id = this.count++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject, show });
      this.worker.postMessage({ id, url, early: Boolean(show), options: this.options });
    });
  }
}

/** `get(url, early)` decodes the file at a URL, in a worker, to a Blob of PNG; see install.d.ts. */
export function pictures({ weights = null, maxPixels } = {}) {
  const made = new Pictures({ weights: weights && String(new URL(weights, document.baseURI)), maxPixels });
  return (url, early) => made.get(String(new URL(url, document.baseURI)), early);
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

/** What an element shows of one file: coarser pictures while it arrives, then the whole one. */
class Showing {
  constructor(img, url) {
    [this.img, this.url] = [img, url];
    this.shown = null; // the URL of the PNG that is in it now
    this.done = Promise.resolve();
  }

  /** Whether the element still shows this file, not one that the page gave it since. */
  get current() {
    return this.shown ? this.img.src === this.shown && !this.img.srcset : this.img.currentSrc === this.url;
  }

  /** Puts a PNG into the element, behind those put before. */
  put(png, early) {
    this.done = this.done.then(() => this.replace(png, early));
    return this.done;
  }

  async replace(png, early) {
    const [before, next] = [this.shown, URL.createObjectURL(png)];
    if (before) await Object.assign(new Image(), { src: next }).decode().catch(() => {}); // so that nothing flickers
    if (!this.current) return URL.revokeObjectURL(next);
    this.shown = next;
    this.img.dataset.cwic = this.url;
    if (early) coarse.add(next);
    else this.img.addEventListener("load", () => URL.revokeObjectURL(next), { once: true });
    pin(this.img, next);
    if (before) {
      coarse.delete(before);
      URL.revokeObjectURL(before);
    }
  }
}

const coarse = new Set(); // URLs of pictures whose file is still arriving

/**
 * Shows every <img> of `root` whose file is named .cwic, those that are there and those to come, and such files in its
 * styles. A bad file makes the
 * element fire `error`, as <img> does, with the CwicError as `detail`. Returns a function that ends it.
 */
export function install({ root = document, weights = null, maxPixels } = {}) {
  const get = pictures({ weights, maxPixels });
  const begun = new WeakMap(); // for each element, the URL that it was last decoded for

  async function show(img, url) {
    begun.set(img, url);
    const showing = new Showing(img, url);
    try {
      await showing.put(await get(url, (png) => showing.put(png, true)), false);
    } catch (error) {
      if (showing.current) img.dispatchEvent(new CustomEvent("error", { detail: error }));
    }
  }

  function failed(event) {
    const img = event.target;
    if (event instanceof CustomEvent || !(img instanceof HTMLImageElement) || !NAMED.test(img.currentSrc)) return;
    event.stopImmediatePropagation(); // nobody else needs to know yet
    show(img, img.currentSrc);
  }

  /** `load` is for the whole picture. */
  function loaded(event) {
    if (coarse.has(event.target.src)) event.stopImmediatePropagation();
  }

  function look(node) {
    const found = node instanceof HTMLImageElement ? [node] : node.querySelectorAll?.("img") ?? [];
    for (const img of found) {
      const url = img.currentSrc;
      if (img.complete && !img.naturalWidth && NAMED.test(url) && begun.get(img) !== url) show(img, url);
    }
  }

  const observer = new MutationObserver((changes) => changes.forEach((each) => each.addedNodes.forEach(look)));
  root.addEventListener("error", failed, true);
  root.addEventListener("load", loaded, true);
  observer.observe(root, { childList: true, subtree: true });
  look(root);
  const end = backgrounds(root, get);
  return () => {
    end();
    root.removeEventListener("error", failed, true);
    root.removeEventListener("load", loaded, true);
    observer.disconnect();
  };
}
