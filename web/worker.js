// Fetches and decodes pictures off the page's own thread: {id, url, options} in, {id, png} or {id, error} out.

import { CwicError, decode } from "./cwic.js";
import { toPng } from "./png.js";

async function picture(url, options) {
  const response = await fetch(url);
  if (!response.ok) throw new CwicError(`${url}: HTTP status ${response.status}`);
  const decoded = await decode(new Uint8Array(await response.arrayBuffer()), options);
  return new Blob(toPng(decoded), { type: "image/png" });
}

addEventListener("message", async ({ data: { id, url, options } }) => {
  try {
    postMessage({ id, png: await picture(url, options) });
  } catch (error) {
    postMessage({ id, error: error.message });
  }
});
