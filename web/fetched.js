// What the decoder fetches, each thing once: its module, and the weights of models. Weights never change under their
// name, so that browsers keep them for good, beyond what HTTP says.

import { CwicError } from "./container.js";

const MAX_WEIGHTS = 2 ** 28;
const MAGIC = "cwicweb2";
const STORE = "cwic-weights";
const MOST_KEPT = 8; // weights of older models leave the store

export const bytesOf = (given) => (given instanceof Uint8Array ? given : new Uint8Array(given));

/** The bytes at a URL, of a file in Node. */
async function fetched(url, what) {
  try {
    if (url.protocol === "file:") return await (await import("node:fs/promises")).readFile(url);
    const response = await fetch(url);
    if (!response.ok) throw new Error(`HTTP status ${response.status}`);
    return new Uint8Array(await response.arrayBuffer());
  } catch (error) {
    throw new CwicError(`${what}: ${url} cannot be read: ${error.message}`, { cause: error });
  }
}

/** Unpacks a gzip ("gzip") or zlib ("deflate") stream to at most so many bytes. */
export async function unpacked(bytes, format, most, field) {
  const parts = [];
  let size = 0;
  try {
    for await (const part of chunksOf(new Blob([bytes]).stream().pipeThrough(new DecompressionStream(format)))) {
      size += part.length;
      if (size > most) break;
      parts.push(part);
    }
  } catch (error) {
    throw new CwicError(`${field}: its ${bytes.length} bytes are not one whole stream`, { cause: error });
  }
  if (size > most) throw new CwicError(`${field}: more than ${most} bytes when unpacked`);
  const all = new Uint8Array(size);
  size = 0;
  for (const part of parts) {
    all.set(part, size);
    size += part.length;
  }
  return all;
}

async function* chunksOf(stream) { // not every browser can iterate over streams
  const reader = stream.getReader();
  try {
    for (let next; !(next = await reader.read()).done;) yield next.value;
  } finally {
    reader.cancel().catch(() => {});
  }
}

const cache = new Map(); // by name: promises of the module, of weights by model id

function once(name, make) {
  if (!cache.has(name)) {
    const promise = make();
    cache.set(name, promise);
    promise.catch(() => cache.delete(name)); // so that it is tried again
  }
  return cache.get(name);
}

const DIST = new URL("./dist/", import.meta.url);

/** Where the decoder's module lies. */
export const MODULE = new URL("cwic.wasm", DIST);

/** The decoder's module. */
export const compiled = () => once("module", async () => {
  try {
    if (MODULE.protocol !== "file:") return await WebAssembly.compileStreaming(fetch(MODULE)); // browsers cache the code
  } catch {
    // served as another type than application/wasm, or not at all, which fetching it says
  }
  return WebAssembly.compile(await fetched(MODULE, "decoder"));
});

async function unpackedWeights(bytes, id) {
  const data = bytes[0] === 0x1f && bytes[1] === 0x8b ? await unpacked(bytes, "gzip", MAX_WEIGHTS, `weights ${id}`) : bytes;
  const magic = String.fromCharCode(...data.subarray(0, 8));
  if (magic !== MAGIC) throw new CwicError(`weights ${id}: begin with ${JSON.stringify(magic)}, not ${MAGIC}`);
  const found = Array.from(data.subarray(8, 14), (v) => v.toString(16).padStart(2, "0")).join("");
  if (found !== id) throw new CwicError(`weights: those of model ${found}, the file names ${id}`);
  return data;
}

/** The bytes of weights that the browser keeps; nothing where it keeps none, as in Node or without HTTPS. */
async function keptWeights(url) {
  try {
    return bytesOf(await (await (await caches.open(STORE)).match(url)).arrayBuffer());
  } catch {
    return null;
  }
}

async function keepWeights(url, bytes) {
  try {
    const store = await caches.open(STORE);
    await store.put(url, new Response(bytes));
    for (const old of (await store.keys()).slice(0, -MOST_KEPT)) await store.delete(old);
  } catch {
    // no store, or no room in it: they are fetched again
  }
}

async function fetchedWeights(place, id) {
  const kept = await keptWeights(place.href);
  if (kept) {
    try {
      return await unpackedWeights(kept, id);
    } catch {
      // damaged, and replaced below
    }
  }
  const bytes = await fetched(place, `model id: weights of ${id}`);
  const data = await unpackedWeights(bytes, id);
  keepWeights(place.href, bytes);
  return data;
}

/** The unpacked weights of a model, from what the caller gave or from beside this module. */
export async function weightsOf(id, given) {
  if (given instanceof Uint8Array || given instanceof ArrayBuffer) return unpackedWeights(bytesOf(given), id);
  return once(id, async () => {
    if (typeof given === "function") return unpackedWeights(bytesOf(await given(id)), id);
    return fetchedWeights(new URL(`${id}.weights`, given ?? DIST), id);
  });
}
