// Answers requests for pictures named .cwic with PNG, so that pages need no change. A worker sees the pages of its own
// folder and of those below: for a whole site, let a script in the top folder import this one.

import { CwicError, NAMED, isCwic } from "./container.js";
import { decode } from "./cwic.js";
import { MODULE } from "./fetched.js";
import { toPng } from "./png.js";

const STORE = "cwic-module";

/** The decoder as it was when the worker last ran; what the server has is for its next run. */
async function module() {
  const store = await caches.open(STORE);
  const kept = await store.match(MODULE.href);
  const fresh = fetchModule(store);
  if (kept) fresh.catch(() => {}); // no network, perhaps
  return WebAssembly.compile(await (kept ?? (await fresh)).arrayBuffer());
}

async function fetchModule(store) {
  const response = await fetch(MODULE, { cache: "no-cache" });
  if (!response.ok) throw new CwicError(`decoder: ${MODULE} cannot be read: HTTP status ${response.status}`);
  await store.put(MODULE.href, response.clone()).catch(() => {}); // there may be no room
  return response;
}

let compiled = null; // as long as the browser keeps the worker

function compiledOnce() {
  compiled ??= module();
  compiled.catch(() => (compiled = null)); // so that it is tried again
  return compiled;
}

/** What a server has under the name, as PNG if it is such a file. Of other origins, only where they allow reading it. */
async function answer(request) {
  const own = new URL(request.url).origin === location.origin;
  const response = await fetch(own ? request : new Request(request.url, { credentials: "omit" }));
  if (!response.ok) return response;
  const bytes = new Uint8Array(await response.clone().arrayBuffer());
  if (!isCwic(bytes)) return response;
  try {
    const png = new Blob(toPng(await decode(bytes, { module: compiledOnce() })), { type: "image/png" });
    return new Response(png, { headers: { "Content-Type": "image/png" } });
  } catch (error) {
    console.error(`${request.url}: ${error.message}`);
    return new Response(error.message, { status: 422, headers: { "Content-Type": "text/plain; charset=utf-8" } });
  }
}

addEventListener("install", (event) => {
  event.waitUntil(caches.open(STORE).then(fetchModule).then(() => skipWaiting()));
});

addEventListener("activate", (event) => event.waitUntil(clients.claim()));

addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET" || request.destination !== "image" || !NAMED.test(request.url)) return;
  event.respondWith(answer(request).catch(() => fetch(request)));
});
