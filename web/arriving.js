// A file as it comes over a slow network: what can be shown of it before it is whole.

import { arrived } from "./container.js";
import { decode, info, prepare } from "./cwic.js";

const HEADER_BYTES = 46;
const PATIENCE = 300; // ms from the request to the first picture, and between two
const MOST = 3; // coarser pictures before the whole one
const SHARE = 3; // pauses are as many times as long as the picture before took
const COST = 0.0012; // ms a pixel, until a picture has told what it takes

/** What came so far of bytes of unknown number. */
class Growing {
  constructor(expected) {
    this.all = new Uint8Array(Math.min(expected, 2 ** 22));
    this.size = 0;
  }

  add(part) {
    if (this.size + part.length > this.all.length) {
      const larger = new Uint8Array(2 * (this.size + part.length));
      larger.set(this.bytes);
      this.all = larger;
    }
    this.all.set(part, this.size);
    this.size += part.length;
  }

  get bytes() {
    return this.all.subarray(0, this.size);
  }
}

/** The picture of what arrived, transparent where nothing did. */
async function coarse(bytes, options) {
  const picture = await decode(bytes, { ...options, partial: true });
  if (picture.rows === picture.height) return picture;
  picture.data.fill(0, 4 * picture.width * picture.rows);
  return { ...picture, mode: picture.mode.startsWith("L") ? "LA" : "RGBA" };
}

/** Resolves with true `wait` ms from now and once `ready` has, if it gives true; `end` ends it. */
function pause(wait, ready) {
  let timer;
  const over = new Promise((resolve) => {
    timer = setTimeout(() => ready.then((sound) => sound && resolve(true)), wait);
  });
  return { over, end: () => clearTimeout(timer) };
}

/** Coarser pictures of a file, as far as they are worth their time: a few, and none that the whole one would overtake. */
class Early {
  constructor(response, options, show) {
    [this.options, this.show] = [options, show];
    this.total = response.headers.has("Content-Encoding") ? 0 : Number(response.headers.get("Content-Length"));
    this.start = performance.now();
    this.left = MOST;
    this.parts = 0;
    this.due = this.start + PATIENCE;
  }

  /** Milliseconds until all bytes are there if they go on as before. */
  rest(size, now) {
    return this.total < size ? Infinity : ((this.total - size) / size) * (now - this.start);
  }

  async tried(bytes) {
    const now = performance.now();
    const busy = now - this.due > PATIENCE; // with other pictures, or weights came late: what arrived meanwhile goes first
    this.due = now + PATIENCE;
    const { width, height } = info(bytes);
    if (busy || this.rest(bytes.length, now) < (this.took ?? COST * width * height)) return;
    const parts = arrived(bytes);
    if (parts <= this.parts) return;
    this.show(await coarse(bytes, this.options));
    this.parts = parts;
    this.left--;
    this.took = performance.now() - now;
    this.due = performance.now() + Math.max(PATIENCE, SHARE * this.took);
  }
}

/**
 * All bytes of a response. If they take their time, `show(picture)` is called meanwhile, a few times, with what `decode`
 * makes of those that are there; what is wrong with a file is not told before it is whole.
 */
export async function arriving(response, options, show) {
  const got = new Growing(Number(response.headers.get("Content-Length")) || 2 ** 16);
  const early = show && new Early(response, options, show);
  const reader = response.body.getReader();
  let ready = null; // once there is a header: whether all is there that decoding needs
  for (let reading = reader.read(); ;) {
    const idle = ready && early?.left ? pause(early.due - performance.now(), ready) : null;
    const next = await (idle ? Promise.race([reading, idle.over]) : reading);
    idle?.end();
    if (next === true) {
      await early.tried(got.bytes).catch(() => (early.left = 0));
      continue;
    }
    if (next.done) return got.bytes;
    got.add(next.value);
    if (!ready && got.size >= HEADER_BYTES) {
      ready = prepare(got.bytes.slice(0, HEADER_BYTES), options).then(() => true, () => false);
    }
    reading = reader.read();
  }
}
