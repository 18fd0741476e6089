// Decodes CWIC files: the same pixels, bit for bit, as pillow_cwic. No dependencies; web/README.md says how to serve it.

import {
  BLOCK, CwicError, checkCrc, checkPixels, crc32, readFile, readHeader, readPixels, splitBlocks, splitTiles,
} from "./container.js";
import { bytesOf, compiled, unpacked, weightsOf } from "./fetched.js";

export { CwicError };

const MAX_PIXELS = 2 ** 28; // as large as canvases are
const MAX_METADATA = 2 ** 24; // bytes, unpacked, all blocks together
const KEPT = 2 ** 26; // bytes of memory, up to which a decoder is kept for the next picture
const [MISSING, OPAQUE] = [128, 255]; // what is shown for samples that did not arrive, of colour and of alpha

const MESSAGES = new Map([
  [-1, "out of memory"],
  [-2, "an argument is out of its range"],
  [-4, "the stream ends before its last symbol"],
  [-5, "bytes are left over after the last symbol"],
  [-6, "a symbol is out of its range"],
  [-7, "the weights do not fit the shape, or sums could overflow"],
]);

function check(result, what) {
  if (result !== 0) throw new CwicError(`${what}: ${MESSAGES.get(result) ?? `error ${result}`}`);
}

// ---- the decoder's memory -------------------------------------------------------------------------------------------

/** An instance of the module; `memory` moves whenever it grows, so views are made anew after each call. */
class Decoder {
  constructor(module) {
    this.calls = new WebAssembly.Instance(module).exports;
    this.model = null;
    this.taken = [];
  }

  /** Room for so many bytes, all zero, until `clear`. Memory that was never used costs nothing until it is. */
  take(size, what) {
    const at = size < 2 ** 31 ? this.calls.calloc(size, 1) >>> 0 : 0;
    if (!at) throw new CwicError(`${what}: out of memory for ${size} bytes`);
    this.taken.push(at);
    return at;
  }

  give(at) {
    this.calls.free(at);
    this.taken = this.taken.filter((other) => other !== at);
  }

  view(at, size) {
    return new Uint8Array(this.calls.memory.buffer, at, size);
  }

  put(bytes, what) {
    const at = this.take(bytes.length, what);
    this.view(at, bytes.length).set(bytes);
    return at;
  }

  load(id, weights) {
    const at = this.put(weights, "weights");
    check(this.calls.model(at, weights.length), `weights ${id}`);
    this.give(at);
    this.model = id;
  }

  clear() {
    while (this.taken.length) this.calls.free(this.taken.pop());
  }
}

const kept = new Map(); // decoders by model id, "" without a model

/** `work(decoder)` with a decoder that has the model's weights; it is kept if it is sound and small. */
function withDecoder(module, id, weights, work) {
  let decoder = kept.get(id);
  kept.delete(id);
  try {
    if (!decoder) {
      decoder = new Decoder(module);
      if (weights) decoder.load(id, weights);
    }
    const result = work(decoder);
    decoder.clear();
    if (decoder.calls.memory.buffer.byteLength <= KEPT) kept.set(id, decoder);
    return result;
  } catch (error) {
    if (error instanceof CwicError) throw error;
    throw new CwicError(`decoder: ${error.message}`, { cause: error }); // no file is known to do this
  }
}

// ---- pictures -------------------------------------------------------------------------------------------------------

/** The picture's codes out of its layers: where they lie. */
function decodeSymbols(decoder, file, parsed, base) {
  const { header, layers, complete } = parsed;
  const { calls } = decoder;
  const all = calls.channels(-1);
  if (layers.length > all || (complete && layers.length < all)) {
    throw new CwicError(`layers: the file has ${layers.length}, its model ${all}`);
  }
  const [rows, columns] = [Math.ceil(header.height / BLOCK), Math.ceil(header.width / BLOCK)];
  const channels = Array.from({ length: all }, (_, n) => calls.channels(n));
  const side = 2 ** header.exponent / BLOCK;
  const streams = layers.map((layer, n) => splitTiles(file, layer, header.tiles, `layer ${n}`));
  const plane = 2 * 4 * rows * columns; // bytes of one channel's codes
  const places = [decoder.take(2 * rows * columns, "importance map")];
  places.push(decoder.take(plane * channels.slice(1).reduce((a, b) => a + b), "codes"));
  for (let n = 1; n < all; n++) places.push(places[n] + plane * channels[n]);
  const tall = Math.min(side, rows);
  const broad = Math.min(side, columns);
  const scratch = header.tiles > 1 ? decoder.take(2 * 4 * tall * broad * Math.max(...channels), "tile") : 0;
  let tile = 0;
  for (let top = 0; top < rows; top += side) {
    for (let left = 0; left < columns; left += side, tile++) {
      check(calls.tile(header.rate, Math.min(side, rows - top), Math.min(side, columns - left)), `tile ${tile}`);
      layers.forEach((_, n) => {
        const unit = n ? 2 : 1;
        const { start, end } = streams[n][tile];
        const at = places[n] + 2 * unit * (top * unit * columns + left);
        check(calls.layer(base + start, end - start, at, rows * unit, columns * unit, scratch), `layer ${n}`);
      });
    }
  }
  calls.tile_end();
  const levels = Uint8Array.from(new Int16Array(calls.memory.buffer, places[0], layers.length ? rows * columns : 0));
  layers.forEach((layer, n) => {
    const found = n ? crc32(decoder.view(places[n], plane * channels[n])) : crc32(levels);
    checkCrc(`layer ${n}: symbol CRC`, found, layer.crc);
  });
  if (scratch) decoder.give(scratch);
  return places[1];
}

/** The CRC of a band's pixels, of which `blocks`, a view or null, says which blocks count. */
function bandCrc(pixels, rows, width, channels, blocks) {
  if (!blocks || blocks.every((one) => one)) return crc32(pixels);
  const across = Math.ceil(width / BLOCK);
  let crc = 0;
  for (let y = 0; y < rows; y++) {
    for (let b = 0; b < across; b++) {
      if (!blocks[Math.floor(y / BLOCK) * across + b]) continue;
      const start = (y * width + b * BLOCK) * channels;
      crc = crc32(pixels, start, (y * width + Math.min((b + 1) * BLOCK, width)) * channels, crc);
    }
  }
  return crc;
}

/** Shows coarse samples, those of `blocks`, in so many rows. */
function spreadSamples(pixels, rows, width, channels, blocks, step) {
  const across = Math.ceil(width / BLOCK);
  for (let y = 0, i = 0; y < rows; y++) {
    for (let x = 0; x < width; x++, i += channels) {
      if (!blocks[(y >> 4) * across + (x >> 4)]) continue;
      for (let c = i; c < i + channels; c++) pixels[c] = Math.min(255, pixels[c] * step);
    }
  }
}

/**
 * Writes a pixel payload to `at`, all of it or those blocks that the bytes at `blocks` name; returns how many rows there
 * were, all unless it is `partial`.
 */
function decodePixels(decoder, file, base, place, field, { width, height }, channels, at, blocks, partial) {
  const payload = readPixels(file, place, height, channels, field, partial);
  const across = Math.ceil(width / BLOCK);
  if (payload.colour) {
    const pixels = decoder.view(at, width * height * channels);
    const chosen = blocks && decoder.view(blocks, across * Math.ceil(height / BLOCK));
    for (let y = 0, i = 0; y < height; y++) {
      for (let x = 0; x < width; x++, i += channels) {
        if (!chosen || chosen[(y >> 4) * across + (x >> 4)]) pixels.set(payload.colour, i);
      }
    }
    return height;
  }
  let there = 0;
  const { bands, cut, step } = payload;
  if (step > 1 && !blocks) {
    throw new CwicError(`${field}: step ${step} between samples that are to be exact, wanted 1`);
  }
  (cut ? [...bands, cut] : bands).forEach((band, k) => {
    const { start, end, crc } = band;
    const rows = Math.min(payload.rows, height - k * payload.rows);
    const first = at + k * payload.rows * width * channels;
    const mine = blocks && blocks + ((k * payload.rows) / BLOCK) * across;
    const what = `${field}: band ${k}`;
    const decoded = decoder.calls[band === cut ? "rows" : "pixels"](
      base + start, end - start, first, rows, width, channels, mine,
    );
    check(Math.min(decoded, 0), `${what}: pixels`);
    there += band === cut ? decoded : rows;
    const chosen = mine ? decoder.view(mine, across * Math.ceil(rows / BLOCK)) : null;
    const some = band === cut && decoded < rows; // of which no CRC tells
    const pixels = decoder.view(first, rows * width * channels);
    if (!some) checkCrc(`${what}: CRC of its pixels`, bandCrc(pixels, rows, width, channels, chosen), crc);
    if (step > 1) spreadSamples(pixels, some ? decoded : rows, width, channels, chosen, step);
  });
  return there;
}

/** Writes the exact blocks of a picture with layers over its pixels at `at`. */
function decodeBlocks(decoder, file, base, parsed, at) {
  const { header, pixels, complete } = parsed;
  const parts = splitBlocks(file, pixels, !complete);
  if (!parts) return;
  const [rows, columns] = [Math.ceil(header.height / BLOCK), Math.ceil(header.width / BLOCK)];
  const blocks = decoder.take(rows * columns, "blocks");
  const [mask, rest] = parts;
  check(decoder.calls.pixels(base + mask.start, mask.end - mask.start, blocks, rows, columns, 1, 0), "pixels");
  const most = decoder.view(blocks, rows * columns).reduce((a, b) => Math.max(a, b));
  if (most !== 1) throw new CwicError(`blocks: values up to ${most}, wanted 0 and 1`);
  decodePixels(decoder, file, base, rest, "PIXL", header, header.channels, at, blocks, !complete);
  decoder.give(blocks);
}

/** Colour, of the header's channels: where it lies, and how many rows of it there are to see. */
function decodeColour(decoder, file, base, parsed) {
  const { header, post, pixels, complete } = parsed;
  const { width, height } = header;
  const count = width * height;
  if (header.lossless) {
    const at = decoder.take(count * header.channels, "pixels");
    if (!complete) decoder.view(at, count * header.channels).fill(MISSING);
    const rows = pixels
      ? decodePixels(decoder, file, base, pixels, "PIXL", header, header.channels, at, 0, !complete) : 0;
    return { at, rows };
  }
  const filter = post ? [base + post.start, post.end - post.start] : [0, 0];
  if (post) check(decoder.calls.post(...filter), "POST");
  const codes = decodeSymbols(decoder, file, parsed, base);
  const at = decoder.take(3 * count, "pixels");
  check(decoder.calls.synthesis(header.rate, codes, at, height, width, ...filter), "picture");
  decoder.give(codes);
  if (header.grey) {
    const made = decoder.view(at, 3 * count);
    for (let i = 0, k = 0; i < count; i++, k += 3) {
      made[i] = ((2 * (made[k] + made[k + 1] + made[k + 2]) + 3) / 6) | 0;
    }
  }
  if (pixels) decodeBlocks(decoder, file, base, parsed, at);
  return { at, rows: height };
}

/** The picture as RGBA, and how many rows of it there are to see. */
function decodePicture(decoder, file, parsed) {
  const { header } = parsed;
  const count = header.width * header.height;
  const base = decoder.put(file, "file");
  const { at, rows } = decodeColour(decoder, file, base, parsed);
  let alpha = 0;
  if (parsed.alpha) {
    alpha = decoder.take(count, "alpha");
    if (!parsed.complete) decoder.view(alpha, count).fill(OPAQUE);
    decodePixels(decoder, file, base, parsed.alpha, "ALPH", header, 1, alpha, 0, !parsed.complete);
  }
  const colour = decoder.view(at, count * header.channels);
  const opacity = alpha ? decoder.view(alpha, count) : null;
  const data = new Uint8ClampedArray(4 * count);
  const [green, blue, step] = header.grey ? [0, 0, 1] : [1, 2, 3];
  for (let i = 0, k = 0, to = 0; i < count; i++, k += step, to += 4) {
    data[to] = colour[k];
    data[to + 1] = colour[k + green];
    data[to + 2] = colour[k + blue];
    data[to + 3] = opacity ? opacity[i] : OPAQUE;
  }
  return { data, rows };
}

/** EXIF, ICC profile, XMP and resolution; nothing if one of them is damaged in a way that its CRC does not show. */
async function metadataOf(file, extra) {
  const found = {};
  let left = MAX_METADATA;
  try {
    for (const [name, kind] of [["exif", "eXIf"], ["icc", "iCCP"], ["xmp", "xMPp"]]) {
      if (!extra.has(kind)) continue;
      const { start, end } = extra.get(kind);
      found[name] = await unpacked(file.subarray(start, end), "deflate", left, `chunk ${kind}`);
      left -= found[name].length;
    }
    if (extra.has("rESo")) {
      const { start, end } = extra.get("rESo");
      const view = new DataView(file.buffer, file.byteOffset + start, end - start);
      if (view.byteLength !== 8 || !view.getUint32(0) || !view.getUint32(4)) return {};
      found.dpi = [view.getUint32(0) / 1000, view.getUint32(4) / 1000];
    }
  } catch (error) {
    if (error instanceof CwicError) return {};
    throw error;
  }
  return found;
}

/** What a file says about its picture, without decoding it; 46 bytes of it suffice. See cwic.d.ts. */
export function info(bytes) {
  const { width, height, mode, grey, lossless, rate, family, modelId } = readHeader(bytesOf(bytes));
  return { width, height, mode, grey, lossless, rate: rate / 512, family, model: lossless ? null : modelId };
}

/** Fetches what decoding a file will need. See cwic.d.ts. */
export async function prepare(bytes, { weights = null, module } = {}) {
  const { family, model } = info(bytes);
  if (family === "cw18") throw new CwicError("model family: cw18 (cwic2018) is not decoded in browsers");
  return Promise.all([module ?? compiled(), model === null ? null : weightsOf(model, weights)]);
}

/** Decodes a file to RGBA. See cwic.d.ts. */
export async function decode(bytes, { partial = false, maxPixels = MAX_PIXELS, ...needs } = {}) {
  const file = bytesOf(bytes);
  const said = info(file);
  checkPixels(said, maxPixels);
  const parsed = readFile(file, partial);
  const [module, weights] = await prepare(file, needs);
  const metadata = await metadataOf(file, parsed.extra);
  const made = withDecoder(module, said.model ?? "", weights, (decoder) => decodePicture(decoder, file, parsed));
  return { ...said, ...made, complete: parsed.complete, ...metadata };
}
