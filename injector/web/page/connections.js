// The view of connections, and its three dialogs.

import * as api from "./api.js";
import { byId, clear, counted, el, icon, keyed, outside, say, tell, tellProblem } from "./dom.js";

let rowNumber = 0;
let chosen = null; // the name that the open dialog is about
let busy = false;

export function setUpConnections() {
  for (const dialog of document.querySelectorAll("dialog")) setUpDialog(dialog);
  byId("connection-add").addEventListener("click", openAdd);
  byId("add-setting").addEventListener("click", () => addRow("setting").focus());
  byId("add-secret").addEventListener("click", () => addRow("secret").focus());
  onSubmit("add", sendAdd);
  onSubmit("test", sendTest);
  onSubmit("remove", sendRemove);
}

/** Asks for all connections and shows them. */
export async function lookAtConnections() {
  try {
    const answer = await api.get("/api/connections");
    clear(byId("connections-error"));
    showConnections(answer);
  } catch (problem) {
    if (!(problem instanceof api.Problem)) throw problem;
    tellProblem(byId("connections-error"), problem);
  }
}

function showConnections({ writable, where, reason, connections }) {
  byId("connections-where").replaceChildren(
    counted(connections.length, "connection"),
    " in ",
    outside(where ?? "no store", "code"),
  );
  byId("connection-add").hidden = !writable;
  byId("connections-empty").hidden = connections.length > 0;
  byId("connections-fixed").hidden = writable;
  if (!writable) tell(byId("connections-fixed"), `They cannot be changed here: ${reason ?? "the store is read only"}.`);
  byId("connections").classList.toggle("fixed", !writable);
  keyed(byId("connections"), connections, ({ name, id, version }) => `${name}\0${id}\0${version}`, makeConnection);
}

function makeConnection({ name, prefix, settings, secrets }) {
  const button = (label, classes, act) => {
    const named = el("span", { class: "unseen" }, " ", outside(name));
    return el("button", { type: "button", class: classes, on: { click: act } }, label, named);
  };
  const fields = Object.entries(settings).map(([field, value]) =>
    el("div", {}, outside(field, "dt"), outside(typeof value === "string" ? value : JSON.stringify(value), "dd")),
  );
  const hidden = secrets.map((field) =>
    el("div", { class: "secret" }, outside(field, "dt"), el("dd", {}, icon("lock"), "encrypted")),
  );
  const node = el(
    "li",
    {},
    el("div", { class: "connection-head" }, outside(name, "h2", "name"), el("span", { class: "tag" }, outside(prefix))),
    el("dl", { class: "facts" }, ...fields, ...hidden),
    el(
      "div",
      { class: "connection-do" },
      button("Test", "", () => openTest(name)),
      button("Remove", "quiet-danger", () => openRemove(name)),
    ),
  );
  return { node, update() {} };
}

function announce(...content) {
  byId("connections-said").replaceChildren(icon("ready"), el("span", {}, ...content));
}

// ---------------------------------------------------------------------------------------------------- dialogs

function setUpDialog(dialog) {
  for (const button of dialog.querySelectorAll("[data-close]")) button.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => {
    forget(dialog);
    const returned = document.activeElement;
    if (returned === null || returned === document.body) byId("connections-title").focus();
  });
}

/** Empties a dialog: what was typed is nowhere any more. */
function forget(dialog) {
  for (const input of dialog.querySelectorAll("input")) input.value = "";
  for (const row of dialog.querySelectorAll(".row")) row.remove();
  for (const notice of dialog.querySelectorAll(".notice")) clear(notice);
}

function show(name, first) {
  byId(`${name}-dialog`).showModal();
  byId(first).focus();
}

/** One request at a time; what goes wrong is shown beside the form, and gets the focus. */
function onSubmit(name, send) {
  const form = byId(`${name}-form`);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (busy) return;
    busy = true;
    const button = form.querySelector("[type=submit]");
    button.setAttribute("aria-disabled", "true");
    button.classList.add("busy");
    clear(byId(`${name}-error`));
    try {
      await send();
    } catch (problem) {
      if (!(problem instanceof api.Problem)) throw problem;
      tellProblem(byId(`${name}-error`), problem);
      byId(`${name}-error`).focus();
    } finally {
      busy = false;
      button.removeAttribute("aria-disabled");
      button.classList.remove("busy");
    }
  });
}

// ---------------------------------------------------------------------------------------------------- add

async function openAdd() {
  forget(byId("add-dialog"));
  addRow("setting");
  addRow("secret");
  show("add", "add-name");
  const { prefixes } = await api.get("/api/prefixes").catch(() => ({ prefixes: [] }));
  byId("prefixes").replaceChildren(
    ...prefixes.map(({ prefix, plugin }) => el("option", { value: prefix, label: plugin })),
  );
  const known = prefixes.map(({ prefix }) => prefix).join(", ");
  say(
    byId("add-prefix-help"),
    known
      ? `Of the tokens that it is for. Known here: ${known}.`
      : "Of the tokens that it is for, such as AWSPARAMSTR.",
  );
}

/** A row of the dialog, for a `setting` or a `secret`; gives the input of its name. */
function addRow(kind) {
  const id = `${kind}-${(rowNumber += 1)}`;
  const plain = { autocomplete: "off", spellcheck: "false", autocapitalize: "off" };
  const name = el("input", { id: `${id}-name`, class: "row-name", ...plain });
  const secret = kind === "secret" ? { type: "password", autocomplete: "new-password" } : {};
  const value = el("input", { id: `${id}-value`, class: "row-value", ...plain, ...secret });
  const word = kind === "secret" ? "Secret" : "Setting";
  const drop = el("button", { type: "button", class: "icon", "aria-label": `Leave this ${kind} away` }, icon("cross"));
  const row = el(
    "div",
    { class: `row ${kind}`, role: "group", "aria-label": word },
    el("div", { class: "field" }, el("label", { for: name.id }, `Name of the ${kind}`), name),
    el("div", { class: "field" }, el("label", { for: value.id }, kind === "secret" ? "Secret" : "Value"), value),
    drop,
  );
  drop.addEventListener("click", () => {
    value.value = "";
    row.remove();
    byId(`add-${kind}`).focus();
  });
  byId(`add-${kind}s`).append(row);
  return name;
}

/** The rows of one kind as an object; rows that are empty are left out. Raises Problem for what would get lost. */
function fieldsOf(kind, taken) {
  const fields = Object.create(null);
  for (const row of byId("add-dialog").querySelectorAll(`.row.${kind}`)) {
    const name = row.querySelector(".row-name").value.trim();
    const { value } = row.querySelector(".row-value");
    if (!name && !value) continue;
    if (!name)
      throw new api.Problem({ code: "", message: `a ${kind} has no name`, hint: "give it one, or leave the row away" });
    if (taken.has(name))
      throw new api.Problem({ code: "", message: `${name} is there twice`, hint: "leave one of them away" });
    taken.add(name);
    fields[name] = value;
  }
  return fields;
}

async function sendAdd() {
  const taken = new Set();
  const name = byId("add-name").value.trim();
  const request = { name, prefix: byId("add-prefix").value.trim(), settings: fieldsOf("setting", taken) };
  const typed = [...byId("add-dialog").querySelectorAll(".row.secret .row-value")];
  try {
    await api.post("/api/connections", { ...request, secrets: fieldsOf("secret", taken) });
  } catch (problem) {
    // From here on the secrets were sent: they are typed again. A row that was refused here was not.
    if (problem.status || problem.code === "gone") {
      if (typed.some((input) => input.value))
        problem.hint = [problem.hint, "the secrets were cleared: type them again"].filter(Boolean).join("; ");
      for (const input of typed) input.value = "";
    }
    throw problem;
  }
  byId("add-dialog").close();
  announce("Added ", outside(name, "strong"), ".");
  await lookAtConnections();
}

// ---------------------------------------------------------------------------------------------------- test

function openTest(name) {
  chosen = name;
  forget(byId("test-dialog"));
  byId("test-title").replaceChildren("Test ", outside(name));
  show("test", "test-path");
}

async function sendTest() {
  const result = byId("test-result");
  const path = byId("test-path").value.trim();
  result.hidden = false;
  result.replaceChildren(icon("pending"), el("p", {}, "The plugin is started and gets the connection…"));
  try {
    const { backend, valueBytes } = await api.post(`/api/connections/${encodeURIComponent(chosen)}/test`, {
      token: path || null,
    });
    const more =
      valueBytes === null
        ? ["Whether its store does as well, a path finds out."]
        : ["It answered ", outside(path, "code"), ` with ${counted(valueBytes, "byte")}.`];
    result.replaceChildren(
      icon("ready"),
      el(
        "div",
        {},
        el("p", { class: "what" }, outside(backend), " took the connection ", outside(chosen, "strong"), "."),
        el("p", {}, ...more),
      ),
    );
  } catch (problem) {
    clear(result);
    throw problem;
  }
}

// ---------------------------------------------------------------------------------------------------- remove

function openRemove(name) {
  chosen = name;
  forget(byId("remove-dialog"));
  byId("remove-title").replaceChildren("Remove ", outside(name));
  byId("remove-what").replaceChildren(
    "Its settings and secrets are deleted from the store. Tokens that name ",
    outside(name, "strong"),
    " fail from then on.",
  );
  show("remove", "remove-name");
}

async function sendRemove() {
  if (byId("remove-name").value !== chosen) {
    throw new api.Problem({ code: "", message: "that is not its name", hint: `type ${chosen}` });
  }
  await api.remove(`/api/connections/${encodeURIComponent(chosen)}`);
  byId("remove-dialog").close();
  announce("Removed ", outside(chosen, "strong"), ".");
  await lookAtConnections();
  if (!document.activeElement || document.activeElement === document.body) byId("connections-title").focus();
}
