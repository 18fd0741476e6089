// What the pages of the tests have in common.

/** Width, height, and hash of the colours that a canvas gets of an image. */
export async function seen(img) {
  const canvas = new OffscreenCanvas(img.naturalWidth ?? img.width, img.naturalHeight ?? img.height);
  const context = canvas.getContext("2d");
  context.drawImage(img, 0, 0);
  const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", data));
  return { size: [canvas.width, canvas.height], rgba: Array.from(hash, (v) => v.toString(16).padStart(2, "0")).join("") };
}

/** What becomes of an image: what it shows, or its error. */
export const settled = (img, now = true) => new Promise((resolve) => {
  const end = async (event) => {
    resolve(event.type === "load" ? await seen(img) : { error: event.detail?.message ?? "plain" });
  };
  if (now && img.complete && img.naturalWidth) seen(img).then(resolve);
  img.addEventListener("load", end);
  img.addEventListener("error", end);
});

/** Waits until `test()` holds, looking again and again; `state()` says what is there if it never does. */
export async function until(test, state = () => "") {
  for (const start = performance.now(); !test(); await new Promise((resolve) => setTimeout(resolve, 50))) {
    if (performance.now() - start > 60000) throw new Error(`waited too long for ${test}: ${state()}`);
  }
}

export const post = (where, what = {}) => fetch(where, { method: "POST", body: JSON.stringify(what) });

/** Posts what `work` gives, or how it failed. */
export const told = (work) => work().catch((error) => ({ failed: String(error.stack ?? error) })).then((all) => post("result", all));
