// The page of `injector ui`: who is signed in, which view is open, and when to look again.

import * as api from "./api.js";
import { lookAtConnections, setUpConnections } from "./connections.js";
import { absolute, byId, clear, el, icon, now, outside, tellProblem, tick } from "./dom.js";
import { lookAtSidecar, setUpSidecar, showEnded } from "./sidecar.js";
import { FILE_STATES } from "./states.js";

const VIEWS = ["sidecar", "connections", "about"];
const ENDED_AFTER = 3; // looks without an answer
const LONGEST_WAIT = 30; // seconds
const SHARE = 4; // looking takes at most one part in so many of the time

let session = null;
let timer = 0;
let looking = false;
let again = false;
let unanswered = 0;
let answeredAt = 0;
let shownView = "";

// ---------------------------------------------------------------------------------------------------- session

/** The one-time token of the address, which leaves the address bar and the history at once. */
function takeToken() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token !== null) history.replaceState(null, "", location.pathname);
  return token;
}

async function begin(token) {
  show("loading");
  try {
    session = await api.signIn(token);
  } catch (problem) {
    if (!(problem instanceof api.Problem)) throw problem;
    return showSignedOut(problem, token !== null);
  }
  unanswered = 0;
  answeredAt = now();
  clear(byId("gone"));
  fillAbout();
  shownView = "";
  route();
  return look();
}

function showSignedOut(problem, tried) {
  session = null;
  clearTimeout(timer);
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  show("signed-out");
  document.title = "Sign in · injector";
  if (problem.code === "gone") return missed();
  if (tried) tellProblem(byId("signed-out-error"), problem);
  else clear(byId("signed-out-error"));
  byId("signed-out-title").focus();
}

function signInWithAddress(event) {
  event.preventDefault();
  const typed = byId("address").value.trim();
  byId("address").value = "";
  const fragment = typed.includes("#") ? typed.slice(typed.indexOf("#") + 1) : typed;
  const token = new URLSearchParams(fragment).get("token") ?? fragment;
  if (token) begin(token);
  else byId("address").focus();
}

async function signOut() {
  await api.signOut();
  showSignedOut(new api.Problem({ code: "", message: "" }), false);
}

// ---------------------------------------------------------------------------------------------------- views

function show(name) {
  for (const view of document.querySelectorAll("main > section")) view.hidden = view.id !== `view-${name}`;
  byId("nav").hidden = !VIEWS.includes(name);
}

function route() {
  const wanted = location.hash.slice(1);
  const name = VIEWS.includes(wanted) ? wanted : "sidecar";
  show(name);
  for (const link of byId("nav").children) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const moved = shownView !== "" && shownView !== name;
  shownView = name;
  if (name === "connections") lookAtConnections();
  if (moved) {
    byId(`view-${name}`).querySelector("h1").focus({ preventScroll: true });
    scrollTo(0, 0);
  }
}

function onHash() {
  const token = takeToken();
  if (token !== null) begin(token);
  else if (session) route();
}

function fillAbout() {
  const facts = [
    ["Version", session.version],
    ["Control socket", session.control ?? "none: no sidecar is looked at"],
    ["Connections", session.store ?? "mounted, or nowhere"],
  ];
  const rows = facts.map(([label, value]) => el("div", {}, el("dt", {}, label), outside(String(value), "dd")));
  byId("about").replaceChildren(...rows);
  const states = Object.entries(FILE_STATES).map(([name, { label, means }]) =>
    el("div", {}, el("dt", {}, el("span", { class: `badge ${name}` }, icon(name), label)), el("dd", {}, means)),
  );
  byId("about-states").replaceChildren(...states);
}

// ---------------------------------------------------------------------------------------------------- looking

/** Looks at the sidecar, and again after a while: one request at a time, and none while nobody sees the page. */
async function look() {
  clearTimeout(timer);
  again = looking;
  if (looking || document.hidden || !session) return;
  looking = true;
  const begun = performance.now();
  let wait = 1;
  try {
    wait = await lookAtSidecar();
    answered();
  } catch (problem) {
    if (!(problem instanceof api.Problem)) throw problem;
    if (problem.code === "gone") wait = missed();
    else if (problem.status !== 401) tellProblem(byId("gone"), problem);
    wait = Math.max(wait, 1);
  } finally {
    looking = false;
    const took = (performance.now() - begun) / 1000;
    if (session) timer = setTimeout(look, again ? 0 : 1000 * Math.max(wait, SHARE * took));
  }
}

function answered() {
  answeredAt = now();
  if (unanswered || !byId("gone").hidden) clear(byId("gone"));
  unanswered = 0;
}

/** Nobody answers: says so, and gives how long to wait. */
function missed() {
  unanswered += 1;
  const wait = Math.min(LONGEST_WAIT, 2 ** (unanswered - 1));
  if (unanswered < ENDED_AFTER && session) {
    tellProblem(byId("gone"), { message: "injector ui does not answer", hint: "it is asked again" });
  } else {
    const seen = answeredAt ? ` What you see is from ${absolute(answeredAt)}.` : "";
    tellProblem(byId("gone"), {
      message: `the program has ended.${seen}`,
      hint: "start `injector ui` again, and open the address that it prints",
    });
    showEnded();
  }
  return wait;
}

// ---------------------------------------------------------------------------------------------------- theme

function setUpTheme() {
  const choice = byId("theme");
  choice.value = localStorage.getItem("injector-theme") ?? "auto";
  const apply = () => {
    if (choice.value === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = choice.value;
    localStorage.setItem("injector-theme", choice.value);
  };
  choice.addEventListener("change", apply);
  apply();
}

setUpTheme();
setUpSidecar();
setUpConnections();
api.onSignedOut((problem) => showSignedOut(problem, true));
byId("signed-out-form").addEventListener("submit", signInWithAddress);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the hash is the view's
  byId("main").focus();
});
byId("sign-out").addEventListener("click", signOut);
addEventListener("hashchange", onHash);
document.addEventListener("visibilitychange", look);
document.addEventListener("refreshed", look);
setInterval(() => {
  if (!document.hidden) tick();
}, 1000);
begin(takeToken());
