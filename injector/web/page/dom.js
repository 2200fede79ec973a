// Elements, texts from outside, and times that tick. Nothing here knows what is shown.

const SVG = "http://www.w3.org/2000/svg";

// What a name may hold and nobody sees: controls, marks that turn the direction of the text, zero widths.
const UNSEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

export const byId = (id) => document.getElementById(id);

/** An element: `el("p", {class: "x", hidden: true, "aria-label": "y", on: {click}}, "text", child)`. */
export function el(tag, properties = {}, ...children) {
  return prepared(document.createElement(tag), properties, children);
}

/** The same for a shape of a picture; all properties are attributes. */
export function shape(tag, properties = {}, ...children) {
  return prepared(document.createElementNS(SVG, tag), properties, children);
}

function prepared(node, { on = {}, ...attributes }, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  for (const [event, listener] of Object.entries(on)) node.addEventListener(event, listener);
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** One of the pictures of index.html, `name` without `i-`; it says nothing to those who do not see it. */
export function icon(name, classes = "") {
  return shape(
    "svg",
    { class: `icon-${name} ${classes}`.trim(), "aria-hidden": "true" },
    shape("use", { href: `#i-${name}` }),
  );
}

/** Sets a text if it is another one, so that nothing is announced or deselected for nothing. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const shown = new WeakMap();

/** Puts a text from outside into a node: isolated, never as markup, what is unseen as its code point. */
export function tell(node, text) {
  if (shown.get(node) === text) return node;
  shown.set(node, text);
  const bdi = el("bdi", { class: "outside" });
  let end = 0;
  for (const match of text.matchAll(UNSEEN)) {
    const code = match[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    bdi.append(text.slice(end, match.index), el("span", { class: "unseen-char" }, `U+${code}`));
    end = match.index + match[0].length;
  }
  bdi.append(text.slice(end));
  node.replaceChildren(bdi);
  return node;
}

export const outside = (text, tag = "span", classes = "") => tell(el(tag, { class: classes || null }), text);

/** Puts a problem into a notice: what happened, what to do, and its code for a search in the documentation. */
export function tellProblem(node, problem) {
  const parts = [outside(sentence(problem.message), "p", "what")];
  if (problem.hint) parts.push(outside(sentence(problem.hint), "p"));
  if (problem.code) parts.push(el("p", { class: "code" }, outside(problem.code, "code")));
  const key = `${problem.message}\n${problem.hint}\n${problem.code}`;
  if (shown.get(node) !== key || node.hidden) {
    shown.set(node, key);
    node.replaceChildren(icon("failed"), el("div", {}, ...parts));
  }
  node.hidden = false;
}

export function clear(node) {
  shown.delete(node);
  node.replaceChildren();
  node.hidden = true;
}

/** First letter in upper case and a full stop; commands of ours begin in lower case and stay so. */
function sentence(text) {
  const begun = /^(injector|http|[a-z]+[A-Z/_.:-])/.test(text) ? text : text.charAt(0).toUpperCase() + text.slice(1);
  return /[.?!:…]$/.test(begun) ? begun : `${begun}.`;
}

export const counted = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

// ---------------------------------------------------------------------------------------------------- lists

/** Makes the children of `parent` those of `items`, in their order, and keeps what is there by `key`. */
export function keyed(parent, items, key, make) {
  const rows = (parent.keyedRows ??= new Map());
  const wanted = new Map(items.map((item) => [key(item), item]));
  for (const [name, row] of rows) {
    if (!wanted.has(name)) {
      row.node.remove();
      rows.delete(name);
    }
  }
  const focused = document.activeElement;
  let next = [...parent.children].find((child) => child.localName !== "thead") ?? null;
  for (const [name, item] of wanted) {
    if (!rows.has(name)) rows.set(name, make(item));
    const row = rows.get(name);
    row.update(item);
    if (next === row.node) next = next.nextElementSibling;
    else parent.insertBefore(row.node, next);
  }
  // What was moved has lost the focus.
  if (focused !== document.activeElement && focused?.isConnected) focused.focus({ preventScroll: true });
}

// ---------------------------------------------------------------------------------------------------- times

const clock = { ahead: 0 };

/** The server's clock is the one that all times are of. */
export function setClock(at) {
  clock.ahead = at - Date.now() / 1000;
}

export const now = () => Date.now() / 1000 + clock.ahead;

/** 41.2 -> "41 s", 7,300 -> "2 h". */
export function span(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  if (whole < 48 * 3600) return `${Math.floor(whole / 3600)} h`;
  return `${Math.floor(whole / 86400)} days`;
}

const FULL = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
const CLOCK = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

export const absolute = (at) => FULL.format(new Date(at * 1000));
export const ofDay = (at) => CLOCK.format(new Date(at * 1000));

const times = new WeakMap();

/** A time that ticks ("41 s ago", "in 3 min"); the absolute one appears under the pointer and with the row's focus. */
export function when() {
  return el("time", { class: "when" }, el("span", { class: "relative" }), el("span", { class: "absolute" }));
}

/** Sets a time of `when`: seconds since the epoch, or null; `bare` leaves "ago" and "in" away. */
export function setTime(node, at, { never = "never", bare = false } = {}) {
  const known = times.get(node);
  if (known?.at === at) return node;
  times.set(node, { at, never, bare });
  if (at === null || at === undefined) {
    node.removeAttribute("datetime");
    say(node.lastChild, "");
  } else {
    node.setAttribute("datetime", new Date(at * 1000).toISOString());
    say(node.lastChild, absolute(at));
  }
  tickOne(node);
  return node;
}

function tickOne(node) {
  const { at, never, bare } = times.get(node) ?? {};
  if (at === undefined || at === null) return say(node.firstChild, never ?? "");
  const gone = now() - at;
  if (bare) return say(node.firstChild, span(gone));
  if (gone < 0) return say(node.firstChild, gone > -1 ? "now" : `in ${span(-gone)}`);
  return say(node.firstChild, gone < 1 ? "now" : `${span(gone)} ago`);
}

export function tick() {
  for (const node of document.querySelectorAll("time.when")) tickOne(node);
}
