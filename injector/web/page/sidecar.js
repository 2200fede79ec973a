// The view of the sidecar: how it is, its files, its refreshes, its plugins and who is told of changes.

import * as api from "./api.js";
import { setUpChart, showHistory } from "./chart.js";
import {
  byId,
  clear,
  counted,
  el,
  icon,
  keyed,
  outside,
  say,
  setClock,
  setTime,
  tell,
  tellProblem,
  when,
  absolute,
} from "./dom.js";
import { countsOf, setUpFiles, showFiles } from "./files.js";
import { FILE_STATES, PLUGIN_STATES, holdsBack } from "./states.js";

let last = null; // the last status that a sidecar gave
let lastAt = 0;
const next = when();
const looked = when();
let refreshing = false;

export function setUpSidecar() {
  setUpFiles();
  setUpChart();
  byId("refresh").addEventListener("click", refresh);
  next.classList.add("next");
}

/** Asks and shows; gives how many seconds the program leaves between two looks. Raises api.Problem. */
export async function lookAtSidecar() {
  const answer = await api.get("/api/sidecar");
  if (answer.at !== null) setClock(answer.at);
  showSidecar(answer);
  if (!answer.configured) return 10;
  const history = await api.get("/api/history");
  showHistory(history);
  return history.interval;
}

function showSidecar(answer) {
  byId("sidecar-empty").hidden = answer.configured;
  byId("hero").hidden = !answer.configured;
  if (answer.status) {
    answer.status.files = answer.status.files.map(known);
    last = answer.status;
    lastAt = answer.at;
  }
  byId("refresh").hidden = !answer.reachable;
  byId("sidecar-body").hidden = !last || !answer.configured;
  if (answer.error) tellProblem(byId("sidecar-error"), answer.error);
  else clear(byId("sidecar-error"));
  if (!answer.configured) return title("No sidecar");
  if (answer.reachable && answer.status) showHeadline(answer);
  else showAway(answer);
  if (answer.status) showStatus(answer.status, answer.at);
}

/** A sidecar of another version may have states that this page has no word for. */
function known(file) {
  return file.state in FILE_STATES ? file : { ...file, state: "pending" };
}

/** What is shown is no longer what is: the program that serves the page has ended. */
export function showEnded() {
  if (last) headline("away", "Last seen", `This is what was seen ${absolute(lastAt)}.`);
  byId("refresh").hidden = true;
  title("Ended");
}

// ---------------------------------------------------------------------------------------------------- headline

function headline(state, text, ...line) {
  byId("hero").dataset.state = state;
  byId("headline-icon").setAttribute("href", `#i-${state}`);
  say(byId("headline"), text);
  byId("subline").replaceChildren(...line);
}

function title(text) {
  document.title = `${text} · injector`;
}

function showAway(answer) {
  const since = last ? ` What follows is from ${absolute(lastAt)}.` : "";
  headline("away", "The sidecar does not answer", `It is looked for again and again.${since}`);
  title(answer.error ? "No answer" : "Waiting");
}

function showHeadline({ status, at }) {
  const counts = countsOf(status.files);
  const back = status.files.filter(holdsBack).length;
  const parts = [counted(counts.all, "file")];
  for (const state of ["failed", "stale", "pending"])
    if (counts[state]) parts.push(`${counts[state].toLocaleString("en")} ${state}`);
  if (parts.length === 1 && counts.all) parts.push("all as they should be");
  setTime(next, status.nextRefresh, { never: "not by time" });
  setTime(looked, at);
  let state = counts.failed || counts.stale ? "stale" : "ready";
  let text = counts.failed
    ? `Ready, ${counted(counts.failed, "file")} failed`
    : counts.stale
      ? `Ready, ${counted(counts.stale, "file")} stale`
      : "Ready";
  if (!status.ready) {
    state = counts.failed ? "failed" : "pending";
    text = status.started ? "Not ready" : "Starting";
    parts.push(`${counted(back, "required file")} ${back === 1 ? "holds" : "hold"} it back`);
  }
  // The line is made anew only when its words are others: the times in it tick by themselves.
  const words = parts.join(" · ");
  const line = byId("subline");
  if (line.dataset.words !== words || !line.contains(next)) {
    line.dataset.words = words;
    headline(
      state,
      text,
      words,
      el("span", { class: "meta" }, "next refresh ", next),
      el("span", { class: "meta" }, "looked ", looked),
    );
  } else {
    byId("hero").dataset.state = state;
    byId("headline-icon").setAttribute("href", `#i-${state}`);
    say(byId("headline"), text);
  }
  title(counts.failed ? `${counts.failed} failed` : counts.stale ? `${counts.stale} stale` : text);
}

function showStatus(status, at) {
  if (status.settingsError) {
    tellProblem(byId("settings-error"), {
      message: `the new settings are not in use: ${status.settingsError}`,
      hint: "correct the settings file; until then the ones before hold",
    });
  } else {
    clear(byId("settings-error"));
  }
  showFiles(status.files, at);
  byId("plugins-none").hidden = status.plugins.length > 0;
  keyed(byId("plugins"), status.plugins, ({ name }) => name, makePlugin);
  byId("notifications-none").hidden = status.notifications.length > 0;
  keyed(byId("notifications"), status.notifications, ({ name, kind }) => `${kind}\0${name}`, makeNotification);
}

// ---------------------------------------------------------------------------------------------------- cards

function badge(node, picture, label) {
  if (node.dataset.label === label) return;
  node.dataset.label = label;
  node.className = `badge ${picture}`;
  node.replaceChildren(icon(picture), label);
}

function makePlugin(first) {
  const state = el("span", { class: "badge" });
  const counts = el("span", {});
  const since = when();
  const error = el("p", { class: "error", hidden: true });
  const node = el(
    "li",
    {},
    el("div", { class: "card-head" }, outside(first.name, "strong", "name"), state),
    el("p", { class: "quiet" }, counts, since),
    error,
  );
  const update = (plugin) => {
    const [label, picture] = PLUGIN_STATES[plugin.state] ?? [plugin.state, "pending"];
    badge(state, picture, label);
    const parts = [counted(plugin.starts, "start")];
    if (plugin.crashes) parts.push(counted(plugin.crashes, "crash", "crashes"));
    if (plugin.failedStarts) parts.push(counted(plugin.failedStarts, "failed start"));
    const isUp = plugin.state === "running";
    say(counts, parts.join(" · ") + (isUp ? " · up for " : plugin.lostAt ? " · lost " : ""));
    setTime(since, isUp ? plugin.startedAt : plugin.lostAt, { bare: isUp, never: "" });
    error.hidden = !plugin.lastError;
    if (plugin.lastError) tell(error, plugin.lastError);
  };
  return { node, update };
}

function makeNotification(first) {
  const state = el("span", { class: "badge" });
  const told = when();
  const failures = el("span", {});
  const error = el("p", { class: "error", hidden: true });
  const node = el(
    "li",
    {},
    el(
      "div",
      { class: "card-head" },
      outside(first.name, "strong", "name"),
      el("span", { class: "tag" }, outside(first.kind)),
      state,
    ),
    el("p", { class: "quiet" }, "Last told: ", told, failures),
    error,
  );
  const update = (notification) => {
    if (notification.error) badge(state, "failed", "Failed");
    else if (notification.waiting) badge(state, "pending", "Waiting");
    else if (notification.lastAt === null) badge(state, "removed", "Nothing to tell yet");
    else badge(state, "ready", "Told");
    setTime(told, notification.lastAt);
    say(failures, notification.failures ? ` · ${counted(notification.failures, "failure")} in a row` : "");
    error.hidden = !notification.error;
    if (notification.error) tell(error, notification.error);
  };
  return { node, update };
}

// ---------------------------------------------------------------------------------------------------- refresh

async function refresh() {
  if (refreshing) return;
  refreshing = true;
  const button = byId("refresh");
  button.setAttribute("aria-disabled", "true");
  button.classList.add("busy");
  say(byId("refreshed"), "Asking for all values…");
  try {
    const summary = await api.post("/api/sidecar/refresh");
    say(byId("refreshed"), toldOf(summary));
    byId("refreshed").className = summary.failed ? "bad-text" : "";
    document.dispatchEvent(new Event("refreshed"));
  } catch (problem) {
    if (!(problem instanceof api.Problem)) throw problem;
    byId("refreshed").className = "bad-text";
    byId("refreshed").replaceChildren("The refresh failed: ", outside(problem.message));
  } finally {
    refreshing = false;
    button.removeAttribute("aria-disabled");
    button.classList.remove("busy");
  }
}

function toldOf(summary) {
  const parts = [counted(summary.files ?? 0, "file"), `${summary.changed ?? 0} changed`];
  if (summary.failed) parts.push(`${summary.failed} failed`);
  const took = typeof summary.seconds === "number" ? ` in ${duration(summary.seconds)}` : "";
  return `Refreshed${took}: ${parts.join(", ")}.`;
}

function duration(seconds) {
  if (seconds < 1) return `${Math.max(1, Math.round(seconds * 1000))} ms`;
  return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
}
