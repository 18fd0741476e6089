// Pictures in styles, url(photo.cwic): rules and style attributes that name one get the PNG that it decodes to instead.

import { NAMED } from "./container.js";

const LINK = /url\(\s*(["']?)((?:\\.|[^\\])*?)\1\s*\)/gs;
const MENTIONED = /\.cwic/i;
const PAUSE = 50; // ms after a change, so that many changes are looked at together

/** A selector without what depends on the moment: wider than it was. */
const widened = (selector) => selector
  .replace(/\[[^\]]*\]/g, "")
  .replace(/(?<!\\)::?[-\w]+(\((?:[^()]|\([^()]*\))*\))?/g, "");

/** Whether an element may be there that a rule is for. */
function applies(rule, root) {
  try {
    return !rule.selectorText || Boolean(root.querySelector(widened(rule.selectorText)));
  } catch {
    return true; // too wide for a selector, or nested
  }
}

/** The URLs of pictures that a value of CSS names. */
function named(value, base) {
  const urls = Array.from(value.matchAll(LINK), ([, , text]) => resolved(text, base));
  return urls.filter((url) => url !== null && NAMED.test(url));
}

function resolved(text, base) {
  try {
    return new URL(text.replace(/\\(.)/gs, "$1"), base).href;
  } catch {
    return null;
  }
}

/**
 * Shows the pictures of `root`'s style sheets and style attributes, those to come as well; `get(url)` gives a Blob. Sheets
 * of other origins cannot be read. A rule's picture is decoded once an element is there that may need it. Returns a
 * function that ends it.
 */
export function backgrounds(root, get) {
  const made = new Map(); // by URL: promises of the PNG's URL, null if the file is bad
  const scanned = new WeakMap(); // sheets: how many rules they had when they were looked at
  const waiting = new Map(); // rules that no element needs yet, and where their URLs begin

  function png(url) {
    if (!made.has(url)) {
      made.set(url, get(url).then((blob) => URL.createObjectURL(blob), (error) => {
        console.error(`${url}: ${error.message}`); // as browsers do, which have no event for it
        return null;
      }));
    }
    return made.get(url);
  }

  async function replace(style, base, name) {
    const value = style.getPropertyValue(name);
    const urls = named(value, base);
    if (!urls.length) return;
    const found = new Map(await Promise.all(urls.map(async (url) => [url, await png(url)])));
    if (style.getPropertyValue(name) !== value) return; // the page changed it meanwhile
    const fresh = value.replace(LINK, (whole, _, text) => {
      const shown = found.get(resolved(text, base));
      return shown ? `url("${shown}")` : whole;
    });
    if (fresh !== value) style.setProperty(name, fresh, style.getPropertyPriority(name));
  }

  /** Of what is set by a shorthand with var() in it, only the shorthand has the text. */
  function show(style, base) {
    const shorthands = Array.from(style.cssText.matchAll(/(?:^|;)\s*([-\w]+)\s*:/g), ([, name]) => name);
    for (const name of new Set([...style, ...shorthands])) replace(style, base, name);
  }

  function walk(rules, base) {
    for (const rule of rules) {
      if (rule.styleSheet) scan(rule.styleSheet);
      if (rule.style && MENTIONED.test(rule.style.cssText)) waiting.set(rule, base);
      if (rule.cssRules) walk(rule.cssRules, base);
    }
  }

  function scan(sheet) {
    let rules;
    try {
      rules = sheet.cssRules;
    } catch {
      return; // of another origin
    }
    if (scanned.get(sheet) === rules.length) return;
    scanned.set(sheet, rules.length);
    walk(rules, sheet.href ?? document.baseURI);
  }

  function look() {
    for (const sheet of [...root.styleSheets, ...(root.adoptedStyleSheets ?? [])]) scan(sheet);
    for (const [rule, base] of waiting) {
      if (!applies(rule, root)) continue;
      waiting.delete(rule);
      show(rule.style, base);
    }
    for (const { style } of root.querySelectorAll('[style*=".cwic" i]')) show(style, document.baseURI);
  }

  let timer = null;
  const soon = () => {
    timer ??= setTimeout(() => {
      timer = null;
      look();
    }, PAUSE);
  };
  const arrived = ({ target }) => { // a sheet, and those that it imports
    if (!target.sheet) return;
    scanned.delete(target.sheet);
    soon();
  };
  const observer = new MutationObserver(soon);
  const attributes = ["style", "class", "id"];
  observer.observe(root, { childList: true, subtree: true, characterData: true, attributeFilter: attributes });
  root.addEventListener("load", arrived, true);
  look();
  return () => {
    observer.disconnect();
    root.removeEventListener("load", arrived, true);
    clearTimeout(timer);
  };
}
