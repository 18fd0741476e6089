// Fetches and decodes pictures off the page's own thread: {id, url, early, options} in, {id, png} or {id, error} out; with
// `early`, before that, {id, png, early: true} of a file that arrives slowly.

import { arriving } from "./arriving.js";
import { CwicError, decode } from "./cwic.js";
import { toPng } from "./png.js";

const png = (picture) => new Blob(toPng(picture), { type: "image/png" });

async function picture(url, options, show) {
  const response = await fetch(url);
  if (!response.ok) throw new CwicError(`${url}: HTTP status ${response.status}`);
  return png(await decode(await arriving(response, options, show), options));
}

addEventListener("message", async ({ data: { id, url, early, options } }) => {
  const show = early ? (coarse) => postMessage({ id, png: png(coarse), early }) : null;
  try {
    postMessage({ id, png: await picture(url, options, show) });
  } catch (error) {
    postMessage({ id, error: error.message });
  }
});
