// node web_decode.mjs FOLDER: decodes the file that each line of standard input names, a JSON array of path and options,
// with the weights of FOLDER, and says what came of it, a line of JSON each.

import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { CwicError, decode } from "../web/cwic.js";

const weights = pathToFileURL(`${process.argv[2]}/`);
const CHANNELS = { L: [0], LA: [0, 3], RGB: [0, 1, 2], RGBA: [0, 1, 2, 3] };

/** SHA-256 of the picture in its own mode, as Python has it. */
function hashOf({ data, mode }) {
  const channels = CHANNELS[mode];
  const pixels = new Uint8Array((data.length / 4) * channels.length);
  for (let i = 0, to = 0; i < data.length; i += 4) for (const c of channels) pixels[to++] = data[i + c];
  return createHash("sha256").update(pixels).digest("hex");
}

const text = (bytes) => bytes && Buffer.from(bytes).toString("latin1");

async function tried(path, options) {
  const bytes = await readFile(path);
  const start = performance.now();
  const before = process.cpuUsage();
  try {
    const { data, exif, icc, xmp, ...rest } = await decode(bytes, { weights, ...options });
    const cpu = process.cpuUsage(before);
    const seconds = { elapsed: (performance.now() - start) / 1e3, cpu: (cpu.user + cpu.system) / 1e6 };
    const metadata = { exif: text(exif), icc: text(icc), xmp: text(xmp) };
    return { ...rest, ...metadata, grey3: grey(data), pixels: hashOf({ data, mode: rest.mode }), seconds };
  } catch (error) {
    const elapsed = (performance.now() - start) / 1e3;
    const trap = !(error instanceof CwicError) || error.cause instanceof WebAssembly.RuntimeError;
    return { error: error.message, trap: trap && String(error.stack ?? error), elapsed, rss: process.memoryUsage().rss };
  }
}

/** Whether all three colours are equal everywhere. */
function grey(data) {
  for (let i = 0; i < data.length; i += 4) if (data[i] !== data[i + 1] || data[i] !== data[i + 2]) return false;
  return true;
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await tried(...JSON.parse(line))));
}
