// A decoded picture as PNG, so that browsers treat alpha, orientation and colour profile as they do elsewhere. Stored, not
// compressed: it is made to be shown at once, and takes a few milliseconds.

import { crc32 } from "./container.js";

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const COLOUR_TYPES = { L: 0, RGB: 2, LA: 4, RGBA: 6 };
const CHANNELS = { L: [0], LA: [0, 3], RGB: [0, 1, 2], RGBA: [0, 1, 2, 3] };
const STORED = 65535; // bytes of a block

function adler32(bytes) {
  let [a, b] = [1, 0];
  for (let i = 0; i < bytes.length;) {
    for (const end = Math.min(i + 5552, bytes.length); i < end; i++) {
      a += bytes[i];
      b += a;
    }
    a %= 65521;
    b %= 65521;
  }
  return b * 65536 + a;
}

/** A zlib stream that holds the bytes as they are. */
function stored(bytes) {
  const blocks = Math.max(1, Math.ceil(bytes.length / STORED));
  const out = new Uint8Array(bytes.length + 5 * blocks + 6);
  const view = new DataView(out.buffer);
  let at = 2;
  out.set([0x78, 0x01]);
  for (let n = 0; n < blocks; n++) {
    const part = bytes.subarray(n * STORED, (n + 1) * STORED);
    out[at] = n === blocks - 1 ? 1 : 0;
    view.setUint16(at + 1, part.length, true);
    view.setUint16(at + 3, ~part.length & 0xffff, true);
    out.set(part, at + 5);
    at += 5 + part.length;
  }
  view.setUint32(at, adler32(bytes));
  return out;
}

function chunk(kind, payload) {
  const out = new Uint8Array(payload.length + 12);
  const view = new DataView(out.buffer);
  view.setUint32(0, payload.length);
  for (let n = 0; n < 4; n++) out[4 + n] = kind.charCodeAt(n);
  out.set(payload, 8);
  view.setUint32(8 + payload.length, crc32(out, 4, 8 + payload.length));
  return out;
}

/** What `decode` gives, in its own mode, with ICC profile, EXIF and resolution, as the parts of a PNG file. */
export function toPng({ width, height, mode, data, icc, exif, dpi }) {
  const head = new Uint8Array(13);
  new DataView(head.buffer).setUint32(0, width);
  new DataView(head.buffer).setUint32(4, height);
  head.set([8, COLOUR_TYPES[mode]], 8);
  const channels = CHANNELS[mode];
  const rows = new Uint8Array(height * (1 + width * channels.length));
  for (let y = 0, from = 0, to = 0; y < height; y++) {
    to++; // no filter
    for (let x = 0; x < width; x++, from += 4) for (const c of channels) rows[to++] = data[from + c];
  }
  const parts = [new Uint8Array(SIGNATURE), chunk("IHDR", head)];
  if (icc) parts.push(chunk("iCCP", new Uint8Array([105, 99, 99, 0, 0, ...stored(icc)]))); // its name: icc
  if (dpi) {
    const metres = new Uint8Array(9);
    dpi.forEach((value, n) => new DataView(metres.buffer).setUint32(4 * n, Math.round(value / 0.0254)));
    metres[8] = 1;
    parts.push(chunk("pHYs", metres));
  }
  if (exif) parts.push(chunk("eXIf", exif));
  parts.push(chunk("IDAT", stored(rows)), chunk("IEND", new Uint8Array(0)));
  return parts;
}
