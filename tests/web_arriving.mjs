// node web_arriving.mjs WEIGHTS FILE ..: what is shown of files that come at once, slowly, and slowly but damaged.

import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";
import { arriving } from "../web/arriving.js";
import { decode } from "../web/cwic.js";

const options = { weights: pathToFileURL(`${process.argv[2]}/`) };
const PIECES = 40;
const PAUSE = 60; // ms between them

function response(bytes, slow) {
  const size = slow ? Math.ceil(bytes.length / PIECES) : bytes.length;
  let at = 0;
  const body = new ReadableStream({
    async pull(controller) {
      if (slow) await new Promise((resolve) => setTimeout(resolve, PAUSE));
      if (at >= bytes.length) return controller.close();
      controller.enqueue(bytes.slice(at, (at += size)));
    },
  });
  return new Response(body, { headers: { "Content-Length": bytes.length } });
}

/** How far the pictures are from the whole one that were shown, means of absolute differences. */
async function shown(bytes, slow, whole) {
  const far = [];
  const distance = ({ data }) => data.reduce((sum, value, n) => sum + Math.abs(value - whole.data[n]), 0) / data.length;
  const got = await arriving(response(bytes, slow), options, (picture) => far.push(distance(picture)));
  return { far, same: Buffer.compare(got, bytes) === 0 };
}

for (const path of process.argv.slice(3)) {
  const bytes = new Uint8Array(await readFile(path));
  const whole = await decode(bytes, options);
  const damaged = bytes.slice();
  damaged[Math.floor(bytes.length / 8)] ^= 1;
  const [slowly, broken] = await Promise.all([shown(bytes, true, whole), shown(damaged, true, whole)]);
  console.log(JSON.stringify({ fast: await shown(bytes, false, whole), slow: slowly, damaged: broken }));
}
