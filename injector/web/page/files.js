// The table of files: filter, order, pages of 25, and for each file its tokens.

import { byId, counted, el, icon, keyed, outside, say, setTime, tell, when, absolute } from "./dom.js";
import { FILE_STATES } from "./states.js";

const PAGE = 25;
const RANK = Object.fromEntries(Object.keys(FILE_STATES).map((state, rank) => [state, rank]));
const ORDERS = {
  problems: (a, b) => RANK[a.state] - RANK[b.state] || byName(a, b),
  name: byName,
  changed: (a, b) => (b.changedAt ?? 0) - (a.changedAt ?? 0) || byName(a, b),
};

const view = { files: [], at: 0, state: "all", find: "", order: "problems", page: 0 };
const open = new Set();
const buttons = new Map();

const nameOf = (file) => file.output || file.template;
const keyOf = (file) => `${file.template}\0${file.output}`;

function byName(a, b) {
  return nameOf(a) < nameOf(b) ? -1 : Number(nameOf(a) > nameOf(b));
}

export function setUpFiles() {
  const changed = (name) => (event) => {
    view[name] = event.target.value;
    view.page = 0;
    show();
  };
  byId("files-find").addEventListener("input", changed("find"));
  byId("files-order").addEventListener("change", changed("order"));
  byId("files-back").addEventListener("click", () => turn(-1));
  byId("files-next").addEventListener("click", () => turn(1));
  for (const [state, label] of [
    ["all", "All"],
    ...Object.entries(FILE_STATES).map(([name, { label }]) => [name, label]),
  ]) {
    const count = el("span", { class: "count" });
    const select = () => {
      view.state = state;
      view.page = 0;
      show();
    };
    const picture = state === "all" ? null : icon(state);
    const button = el(
      "button",
      { type: "button", class: `state ${state}`, "aria-pressed": "false", on: { click: select } },
      picture,
      label,
      " ",
      count,
    );
    buttons.set(state, { button, count });
    byId("files-states").append(button);
  }
}

function turn(by) {
  view.page += by;
  show();
  byId("files-title").scrollIntoView({ block: "start" });
}

/** Shows the files of a status that was taken at `at`. */
export function showFiles(files, at) {
  view.files = files;
  view.at = at;
  show();
}

function show() {
  const counts = countsOf(view.files);
  for (const [state, { button, count }] of buttons) {
    say(count, counts[state].toLocaleString("en"));
    button.setAttribute("aria-pressed", String(view.state === state));
    button.hidden = state !== "all" && counts[state] === 0 && view.state !== state;
  }
  const find = view.find.trim().toLowerCase();
  const found = view.files.filter(
    (file) =>
      (view.state === "all" || file.state === view.state) &&
      (!find || file.output.toLowerCase().includes(find) || file.template.toLowerCase().includes(find)),
  );
  found.sort(ORDERS[view.order]);
  const pages = Math.max(1, Math.ceil(found.length / PAGE));
  view.page = Math.min(Math.max(view.page, 0), pages - 1);
  const first = view.page * PAGE;
  const table = byId("files");
  keyed(table, found.slice(first, first + PAGE), keyOf, makeFile);
  table.hidden = found.length === 0;
  showPages(found.length, first, pages);
  showNone(found.length);
}

function showPages(found, first, pages) {
  byId("files-pages").hidden = pages === 1;
  const last = Math.min(first + PAGE, found);
  say(
    byId("files-range"),
    `${(first + 1).toLocaleString("en")}–${last.toLocaleString("en")} of ${counted(found, "file")}`,
  );
  byId("files-back").disabled = view.page === 0;
  byId("files-next").disabled = view.page === pages - 1;
}

function showNone(found) {
  const none = byId("files-none");
  none.hidden = found > 0;
  if (found > 0) return;
  if (view.files.length === 0) say(none, "The sidecar has no template. Put one into its inputs: it is seen at once.");
  else if (view.find.trim())
    none.replaceChildren("No file of this state has ", outside(view.find.trim(), "strong"), " in its name.");
  else say(none, `No file is ${view.state}.`);
}

export function countsOf(files) {
  const counts = { all: files.length, failed: 0, stale: 0, pending: 0, ready: 0, removed: 0 };
  for (const { state } of files) counts[state] += 1;
  return counts;
}

// ---------------------------------------------------------------------------------------------------- one file

let numbers = 0;

function makeFile(file) {
  const key = keyOf(file);
  const id = `file-${(numbers += 1)}`;
  const parts = {
    name: el("span", { class: "name" }),
    from: el("p", { class: "from", hidden: true }),
    state: el("span", { class: "badge" }),
    tags: el("span", { class: "tags" }),
    rendered: when(),
    changed: when(),
    oldest: when(),
    error: el("p", { class: "error" }),
    detail: el("td", { colspan: 5, role: "cell" }),
  };
  const expander = el(
    "button",
    { type: "button", class: "expander", "aria-expanded": "false", "aria-controls": id },
    icon("chevron"),
    parts.name,
  );
  const errorRow = el(
    "tr",
    { class: "error-row", role: "row", hidden: true },
    el("td", { colspan: 5, role: "cell" }, parts.error),
  );
  const detailRow = el("tr", { class: "detail-row", role: "row", id, hidden: true }, parts.detail);
  const cell = (classes, label, ...content) =>
    el("td", { class: classes, role: "cell", "data-label": label }, ...content);
  const node = el(
    "tbody",
    { role: "rowgroup" },
    el(
      "tr",
      { class: "file-row", role: "row" },
      el("th", { scope: "row", role: "rowheader", class: "file" }, expander, parts.from),
      cell("state-cell", "", parts.state, parts.tags),
      cell("num not-phone", "", parts.rendered),
      cell("num wide-only", "", parts.changed),
      cell("num", "Oldest value", parts.oldest),
    ),
    errorRow,
    detailRow,
  );
  let latest = file;
  const unfold = () => {
    const isOpen = open.has(key);
    expander.setAttribute("aria-expanded", String(isOpen));
    node.classList.toggle("open", isOpen);
    detailRow.hidden = !isOpen;
    if (isOpen) detail.update(latest);
  };
  const detail = makeDetail(parts.detail);
  expander.addEventListener("click", () => {
    if (!open.delete(key)) open.add(key);
    unfold();
  });
  const update = (next) => {
    latest = next;
    fillFile(parts, next, errorRow);
    unfold();
  };
  return { node, update };
}

function fillFile(parts, file, errorRow) {
  tell(parts.name, nameOf(file));
  const find = view.find.trim().toLowerCase();
  parts.from.hidden = !find || nameOf(file).toLowerCase().includes(find); // then the template is what was found
  if (!parts.from.hidden && !parts.from.hasChildNodes()) parts.from.append("from ", outside(file.template));
  if (parts.state.dataset.state !== file.state) {
    parts.state.dataset.state = file.state;
    parts.state.className = `badge ${file.state}`;
    parts.state.replaceChildren(icon(file.state), FILE_STATES[file.state].label);
    parts.state.title = FILE_STATES[file.state].means;
  }
  say(parts.tags, [file.tooStale && "too old", !file.required && "optional"].filter(Boolean).join(", "));
  setTime(parts.rendered, file.renderedAt);
  setTime(parts.changed, file.changedAt);
  const ages = file.tokens.map((token) => token.age).filter((age) => age !== null);
  setTime(parts.oldest, ages.length ? Math.round(view.at - Math.max(...ages)) : null, { never: "none", bare: true });
  errorRow.hidden = !file.error;
  if (file.error) tell(parts.error, file.error);
}

function makeDetail(cell) {
  const facts = el("dl", { class: "facts" });
  const body = el("tbody", { role: "rowgroup" });
  const head = ["Reference", "Backend", "Version", "Fetched", "Asked again"].map((text) =>
    el("th", { scope: "col", role: "columnheader" }, text),
  );
  const table = el(
    "table",
    { class: "tokens", role: "table", "aria-label": "Values of this file" },
    el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ...head)),
    body,
  );
  const none = el(
    "p",
    { class: "none", hidden: true },
    "No value is in it: the template has no token, or none was fetched yet.",
  );
  const update = (file) => {
    if (!cell.hasChildNodes()) cell.append(el("div", { class: "detail" }, facts, table, none));
    fillFacts(facts, file);
    table.hidden = file.tokens.length === 0;
    none.hidden = file.tokens.length > 0;
    keyed(body, file.tokens, (token) => token.id, makeToken);
  };
  return { update };
}

function fillFacts(facts, file) {
  const at = (time) => (time === null ? null : absolute(time));
  const rows = [
    ["Output", file.output],
    ["Template", file.template],
    ["Rendered", at(file.renderedAt) ?? "never"],
    ["Content changed", at(file.changedAt) ?? "never"],
    ["Stale since", at(file.staleSince)],
    ["Code", file.errorCode],
  ].filter(([, value]) => value);
  keyed(
    facts,
    rows,
    ([label]) => label,
    ([label]) => {
      const value = el("dd");
      return { node: el("div", {}, el("dt", {}, label), value), update: ([, text]) => tell(value, text) };
    },
  );
}

function makeToken(first) {
  const error = el("p", { class: "error", hidden: true });
  const version = el("td", { role: "cell", "data-label": "Version" });
  const fetched = when();
  const again = when();
  const node = el(
    "tr",
    { role: "row" },
    el("th", { scope: "row", role: "rowheader" }, outside(first.id, "code"), error),
    el("td", { role: "cell", "data-label": "Backend" }, outside(first.backend)),
    version,
    el("td", { role: "cell", "data-label": "Fetched" }, fetched),
    el("td", { role: "cell", "data-label": "Asked again" }, again),
  );
  const update = (token) => {
    tell(version, token.version ?? "–");
    setTime(fetched, token.age === null ? null : Math.round(view.at - token.age));
    setTime(again, token.nextRefresh, { never: "not by time" });
    error.hidden = !token.error;
    if (token.error) tell(error, token.error);
  };
  return { node, update };
}
