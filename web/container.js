// The container of a CWIC file, docs/FORMAT.md section 1. No length of a file is used before it is checked against the
// bytes left, and nothing is copied: what is found are places in the file, {start, end}.

/** What is wrong with a file; the message names the field and both values. */
export class CwicError extends Error {
  name = "CwicError";
}

class CutShort extends CwicError {} // the bytes end too early: the file is cut, or a length in it damaged

export const NAMED = /\.cwic(?:[?#]|$)/i; // what URLs of files look like

const SIGNATURE = [0x89, 0x43, 0x57, 0x49, 0x43, 0x0d, 0x0a, 0x1a];
const START = 16; // of the first chunk
const HEADER_BYTES = 46;
const OVERHEAD = 12; // of a chunk: length, type, CRC
const CUT = ": the file is cut short, or damaged here";
const FAMILIES = ["cwc1", "cw18", "pixl"];
const MODES = [["L", true], ["RGB", false], ["LA", true], ["RGBA", false], ["RGB", true], ["RGBA", true]];
const MAX_SIDE = 2 ** 24 - 1;
const MAX_PIXELS = 2 ** 30;
export const BLOCK = 16; // pixels a side of an exact block, and of a level

function checkRange(field, value, low, high) {
  if (!(value >= low && value <= high)) throw new CwicError(`${field}: ${value} is outside ${low} to ${high}`);
}

const hex = (values) => Array.from(values, (v) => v.toString(16).padStart(2, "0")).join("");
const hex32 = (value) => value.toString(16).padStart(8, "0");

const TABLES = Array.from({ length: 8 }, () => new Int32Array(256));
for (let n = 0; n < 256; n++) {
  let c = n;
  for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ 0xedb88320 : c >>> 1;
  TABLES[0][n] = c;
}
for (let n = 0; n < 256; n++) {
  for (let k = 1; k < 8; k++) TABLES[k][n] = (TABLES[k - 1][n] >>> 8) ^ TABLES[0][TABLES[k - 1][n] & 255];
}
const [T0, T1, T2, T3, T4, T5, T6, T7] = TABLES;

/** CRC-32 as in PNG, of bytes from start to end behind those whose CRC is given. */
export function crc32(bytes, start = 0, end = bytes.length, crc = 0) {
  let c = ~crc;
  let i = start;
  for (; i + 8 <= end; i += 8) {
    c ^= bytes[i] | (bytes[i + 1] << 8) | (bytes[i + 2] << 16) | (bytes[i + 3] << 24);
    c = T7[c & 255] ^ T6[(c >>> 8) & 255] ^ T5[(c >>> 16) & 255] ^ T4[c >>> 24]
      ^ T3[bytes[i + 4]] ^ T2[bytes[i + 5]] ^ T1[bytes[i + 6]] ^ T0[bytes[i + 7]];
  }
  for (; i < end; i++) c = (c >>> 8) ^ T0[(c ^ bytes[i]) & 255];
  return ~c >>> 0;
}

export function checkCrc(what, found, said) {
  if (found !== said) throw new CwicError(`${what} is ${hex32(found)}, the file says ${hex32(said)}`);
}

const u16 = (bytes, at) => bytes[at] * 256 + bytes[at + 1];
const u32 = (bytes, at) => u16(bytes, at) * 65536 + u16(bytes, at + 2);
const ascii = (bytes, at) => String.fromCharCode(...bytes.subarray(at, at + 4));

export const isCwic = (bytes) => SIGNATURE.every((value, n) => bytes[n] === value);

/** What a file says about its picture before the first coded byte. */
export function readHeader(bytes) {
  if (!isCwic(bytes)) {
    const found = hex(bytes.subarray(0, 8)) || "no bytes";
    throw new CwicError(`signature: ${found} instead of ${hex(SIGNATURE)}, not a CWIC file`);
  }
  if (bytes.length < HEADER_BYTES) throw new CwicError(`header: ${bytes.length} bytes instead of ${HEADER_BYTES}`);
  const family = ascii(bytes, 10);
  const newer = "needs a newer reader";
  if (u16(bytes, 8) !== 0) throw new CwicError(`format version: ${u16(bytes, 8)}, this reader knows 0: ${newer}`);
  if (!FAMILIES.includes(family)) {
    throw new CwicError(`model family: ${JSON.stringify(family)}, this reader knows ${FAMILIES.join(", ")}: ${newer}`);
  }
  if (u16(bytes, 14) !== 0) throw new CwicError(`reserved: ${u16(bytes, 14)} instead of 0`);
  const { kind, start, end } = readChunk(bytes, START, HEADER_BYTES);
  if (kind !== "HEAD" || end - start !== 18) {
    throw new CwicError(`first chunk: ${kind} of ${end - start} bytes instead of HEAD of 18`);
  }
  const [width, height, mode, exponent] = [u32(bytes, start), u32(bytes, start + 4), bytes[start + 8], bytes[start + 9]];
  const rate = (u16(bytes, start + 10) << 16) >> 16;
  const modelId = hex(bytes.subarray(start + 12, start + 18));
  const lossless = family === "pixl";
  checkRange("mode", mode, 0, MODES.length - 1);
  checkRange("width", width, 1, MAX_SIDE);
  checkRange("height", height, 1, MAX_SIDE);
  checkRange("tile exponent", exponent, ...(lossless ? [0, 0] : [6, 15]));
  checkRange("rate", rate, ...(lossless ? [0, 0] : [-2048, 2048]));
  if (lossless && modelId !== "000000000000") {
    throw new CwicError(`model id: ${modelId} in a lossless file, which has none`);
  }
  const [name, grey] = MODES[mode];
  const tiles = Math.ceil(width / 2 ** exponent) * Math.ceil(height / 2 ** exponent);
  return { width, height, mode: name, grey, channels: grey ? 1 : 3, alpha: name.endsWith("A"), exponent, tiles, rate,
    modelId, family, lossless };
}

/** Refuses a picture of more pixels than `most`, counted as decoders hold them, before anything is allocated. */
export function checkPixels({ width, height }, most) {
  const count = Math.ceil(width / BLOCK) * Math.ceil(height / BLOCK) * BLOCK * BLOCK;
  const limit = Math.min(most, MAX_PIXELS);
  if (!(count <= limit)) {
    throw new CwicError(`picture: ${width} x ${height}, ${count} pixels with padding, exceed the limit of ${limit}`);
  }
}

/**
 * Takes a whole file apart: {header, layers, extra, alpha, post, pixels, complete, trailing}. Layers have a crc as well;
 * `extra` maps the types of ancillary chunks to their places. With `partial`, a file cut anywhere behind its header gives
 * what arrived, with `complete` false; `post` is null unless it arrived whole.
 */
export function readFile(bytes, partial = false) {
  const header = readHeader(bytes);
  const found = { header, layers: [], extra: new Map(), alpha: null, post: null, pixels: null, complete: false,
    trailing: 0 };
  let picture = header.lossless ? "PIXL" : "CODE";
  let offset = HEADER_BYTES;
  try {
    let kind;
    while (![picture, "ALPH"].includes((kind = chunkStart(bytes, offset).kind))) {
      const chunk = readChunk(bytes, offset);
      checkAncillary(kind, found.extra);
      found.extra.set(kind, chunk);
      offset = chunk.next;
    }
    if ((kind === "ALPH") !== header.alpha) {
      throw new CwicError(`chunk ${kind}: not what mode ${header.mode} has before ${picture}`);
    }
    if (kind === "ALPH") {
      found.alpha = openChunk(bytes, offset, partial);
      offset = found.alpha.next;
      kind = chunkStart(bytes, offset).kind;
      if (kind !== picture) throw new CwicError(`chunk ${kind}: follows ALPH instead of ${picture}`);
    }
    if (!header.lossless) {
      const code = openChunk(bytes, offset, partial);
      found.layers = readCode(bytes, code);
      offset = code.next;
      if (kindAt(bytes, offset) === "POST") {
        picture = "POST";
        const post = openChunk(bytes, offset, partial);
        offset = post.next;
        if (offset <= bytes.length) found.post = post;
      }
    }
    if (header.lossless || kindAt(bytes, offset) === "PIXL") {
      picture = "PIXL";
      found.pixels = openChunk(bytes, offset, partial);
      offset = found.pixels.next;
    }
  } catch (error) {
    if (!(error instanceof CutShort) || !partial || isTail(bytes, bytes.length - OVERHEAD)) throw error;
    return { ...found, layers: [], post: null, pixels: null };
  }
  if (offset > bytes.length && isTail(bytes, bytes.length - OVERHEAD)) { // whole, as above
    throw new CwicError(`chunk ${picture}: ends at byte ${offset}, the file at ${bytes.length}`);
  }
  found.complete = readTail(bytes, offset, picture, partial);
  found.trailing = Math.max(0, bytes.length - offset - OVERHEAD);
  return found;
}

function checkType(kind) {
  if (!/^[A-Za-z]{4}$/.test(kind)) throw new CwicError(`chunk type: ${JSON.stringify(kind)} is not four ASCII letters`);
}

function checkAncillary(kind, seen) {
  checkType(kind);
  if (["HEAD", "ALPH", "CODE", "POST", "PIXL", "TAIL"].includes(kind)) {
    throw new CwicError(`chunk ${kind}: out of order between HEAD and the picture`);
  }
  if (kind[0] < "a") throw new CwicError(`chunk ${kind}: critical and unknown: needs a newer reader`);
  if (seen.has(kind)) throw new CwicError(`chunk ${kind}: appears twice`);
}

/** The type of the chunk at `offset`, or what arrived of it. */
const kindAt = (bytes, offset) => ascii(bytes, offset + 4);

/** Length, not yet checked, and type of the chunk at `offset`. */
function chunkStart(bytes, offset, stop = bytes.length) {
  if (stop - offset < 8) {
    throw new CutShort(`chunk at byte ${offset}: ${Math.max(0, stop - offset)} bytes left of ${OVERHEAD} or more${CUT}`);
  }
  const kind = ascii(bytes, offset + 4);
  checkType(kind);
  return { length: u32(bytes, offset), kind };
}

/** The whole chunk at `offset`, its CRC checked. */
function readChunk(bytes, offset, stop = bytes.length) {
  const { length, kind } = chunkStart(bytes, offset, stop);
  const left = Math.max(0, stop - offset - OVERHEAD);
  if (length > left) throw new CutShort(`chunk ${kind}: length ${length} exceeds the ${left} bytes left${CUT}`);
  const start = offset + 8;
  const end = start + length;
  const [found, stored] = [crc32(bytes, offset + 4, end), u32(bytes, end)];
  if (found !== stored) {
    throw new CwicError(`chunk ${kind}: CRC ${hex32(found)} of its bytes differs from the stored ${hex32(stored)}`);
  }
  return { kind, start, end, stop: end, next: end + 4 };
}

/** A chunk of pixels or codes: up to `end` arrived of what is stated to go to `stop`. */
function openChunk(bytes, offset, partial) {
  const { length, kind } = chunkStart(bytes, offset);
  const start = offset + 8;
  const stop = start + length;
  if (stop + 4 <= bytes.length || !partial) return readChunk(bytes, offset);
  return { kind, start, end: Math.min(stop, bytes.length), stop, next: stop + 4 };
}

function readCode(bytes, { start, end, stop }) {
  if (start >= end) throw new CutShort("CODE: 0 bytes, too few for the number of layers");
  checkRange("layers", bytes[start], 1, 255);
  return splitStreams(bytes, start + 1, end, bytes[start], stop, "layer", "CODE: layers")[0];
}

const TAIL = [0, 0, 0, 0, 0x54, 0x41, 0x49, 0x4c, 0x4a, 0xa2, 0x59, 0xe9];
const isTail = (bytes, at) => at >= 0 && TAIL.every((value, n) => value === bytes[at + n]);

function readTail(bytes, offset, picture, partial) {
  const rest = bytes.subarray(Math.min(offset, bytes.length), offset + OVERHEAD);
  if (isTail(rest, 0)) return true;
  if (partial && rest.length < 8) return false;
  if (!rest.every((value, n) => value === TAIL[n])) {
    throw new CwicError(`chunk behind ${picture}: ${hex(rest)} instead of TAIL, ${hex(TAIL)}`);
  }
  if (!partial) throw new CwicError(`TAIL: ${rest.length} bytes left of ${OVERHEAD}`);
  return false;
}

/** A number of one to five bytes, and where it ends; reads nothing at or past `end`. */
function varint(bytes, offset, end, field) {
  let value = 0;
  for (let n = 0; n < 5; n++) {
    if (offset + n >= end) throw new CutShort(`${field}: number cut short after ${n} bytes, at byte ${end}`);
    const byte = bytes[offset + n];
    value += (byte & 0x7f) * 2 ** (7 * n);
    if (byte < 0x80) {
      if (byte === 0 && n > 0) {
        throw new CwicError(`${field}: number ${value} takes ${n + 1} bytes, not the shortest form`);
      }
      return [value, offset + n + 1];
    }
  }
  throw new CwicError(`${field}: number longer than 5 bytes`);
}

/**
 * The streams behind a table of `count` lengths and CRCs at `at`, those that arrived whole up to `end`, and what arrived
 * of the next one, if it did not. `stop` is where they end as it is stated, or null if they may end anywhere.
 */
function splitStreams(bytes, at, end, count, stop, name, whole) {
  const table = [];
  let total = 0;
  for (let n = 0; n < count; n++) {
    let size;
    [size, at] = varint(bytes, at, end, `${name} ${n}: length`);
    if (end - at < 4) throw new CutShort(`${name} ${n}: CRC of 4 bytes exceeds the ${end - at} bytes left`);
    table.push({ size, crc: u32(bytes, at) });
    at += 4;
    total += size;
  }
  const left = (stop ?? end) - at;
  if (total < left || (total > left && stop !== null)) {
    throw new CwicError(`${whole} of ${total} bytes in all do not fill the ${left} bytes behind the table`);
  }
  const streams = [];
  for (const { size, crc } of table) {
    if (size > end - at) return [streams, { start: at, end, crc }];
    streams.push({ start: at, end: at + size, crc });
    at += size;
  }
  return [streams, null];
}

/** The streams of a layer's tiles, which fill it exactly. */
export function splitTiles(bytes, { start, end }, tiles, field) {
  if (tiles === 1) return [{ start, end }];
  if (tiles > end - start) throw new CwicError(`${field}: ${tiles} tiles cannot lie in ${end - start} bytes`);
  const streams = [];
  let at = start;
  for (let n = 0; n < tiles; n++) {
    let length;
    [length, at] = varint(bytes, at, end, `${field}: tile ${n}`);
    if (length > end - at) {
      throw new CwicError(`${field}: tile ${n}: length ${length} exceeds the ${end - at} bytes left`);
    }
    streams.push({ start: at, end: at + length });
    at += length;
  }
  if (at !== end) throw new CwicError(`${field}: its tiles end at byte ${at - start} of ${end - start}`);
  return streams;
}

/** Which blocks are exact, and the payload behind it: [place, place], or null where `partial` cut the first one. */
export function splitBlocks(bytes, { start, end }, partial) {
  try {
    const [size, at] = varint(bytes, start, end, "PIXL: blocks: length");
    if (size > end - at) throw new CutShort(`PIXL: blocks: length ${size} exceeds the ${end - at} bytes left`);
    return [{ start: at, end: at + size }, { start: at + size, end }];
  } catch (error) {
    if (partial && error instanceof CutShort) return null;
    throw error;
  }
}

/**
 * A pixel payload: {colour} of all pixels, or {rows, bands, cut, step}: bands of so many rows each, what arrived of the
 * one behind them, or null, and how many times as much as a sample is shown; `partial` takes one cut short.
 */
export function readPixels(bytes, { start, end }, height, channels, field, partial) {
  try {
    return pixelPayload(bytes, start, end, height, channels, field, partial);
  } catch (error) {
    if (partial && error instanceof CutShort) return { rows: BLOCK, bands: [], cut: null, step: 1 };
    throw error;
  }
}

function pixelPayload(bytes, start, end, height, channels, field, partial) {
  const size = end - start;
  if (!size) throw new CutShort(`${field}: method missing is none of 0, 2 and 3`);
  const method = bytes[start];
  if (![0, 2, 3].includes(method)) throw new CwicError(`${field}: method ${method} is none of 0, 2 and 3`);
  if (method === 0) {
    const Kind = size < 1 + channels ? CutShort : CwicError;
    if (size !== 1 + channels) throw new Kind(`${field}: ${size} bytes instead of the ${1 + channels} of one colour`);
    return { colour: bytes.slice(start + 1, end) };
  }
  const coarse = method === 3;
  if (coarse && size < 2) throw new CutShort(`${field}: step of its samples missing`);
  const step = coarse ? bytes[start + 1] : 1;
  if (coarse) checkRange(`${field}: step of its samples`, step, 2, 255);
  const [units, at] = varint(bytes, start + (coarse ? 2 : 1), end, `${field}: rows of a band`);
  checkRange(`${field}: rows of a band, in units of ${BLOCK}`, units, 1, Math.ceil(height / BLOCK));
  const rows = BLOCK * units;
  const stop = partial ? null : end;
  const count = Math.ceil(height / rows);
  const [bands, cut] = splitStreams(bytes, at, end, count, stop, `${field}: band`, `${field}: bands`);
  return { rows, bands, cut, step };
}

/** How much there is to see of a file that is still arriving: layers, or quarters of pixels; 0 as long as nothing is. */
export function arrived(bytes) {
  const { header, layers, pixels } = readFile(bytes, true);
  if (!header.lossless) return layers.length > 1 ? layers.length : 0; // the map shows nothing
  return pixels ? Math.floor((4 * (pixels.end - pixels.start)) / Math.max(1, pixels.stop - pixels.start)) : 0;
}
