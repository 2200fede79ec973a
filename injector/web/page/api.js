// Requests to the program that this page came from.

/** What went wrong, as the program says it; `code` is "gone" when it does not answer at all. */
export class Problem extends Error {
  constructor({ code, message, hint = null }, status = 0) {
    super(message);
    this.code = code;
    this.hint = hint;
    this.status = status;
  }
}

const PATIENCE = 30_000; // ms, for what is only looked up
// The session's other half. A browser sends the cookie to every server on this machine, whatever its port; what is kept
// here only a page of this address can read, and all of its tabs.
const PROOF = "injector-proof";
let signedOut = () => {};

export function onSignedOut(listener) {
  signedOut = listener;
}

/**
 * The session: signs in with a one-time token when there is one. Gives version and places. A token that was used does
 * no harm to who is signed in already.
 */
export async function signIn(token) {
  let refused = null;
  if (token) {
    try {
      const { csrf } = await ask("POST", "/api/session", { token }, { expected: true });
      localStorage.setItem(PROOF, csrf);
    } catch (problem) {
      refused = problem;
    }
  }
  try {
    return await ask("GET", "/api/session", undefined, { expected: true });
  } catch (problem) {
    throw refused ?? problem;
  }
}

export async function signOut() {
  await ask("DELETE", "/api/session").catch(() => null);
  localStorage.removeItem(PROOF);
}

export const get = (path) => ask("GET", path);
export const post = (path, body) => ask("POST", path, body, { patience: 0 });
export const remove = (path) => ask("DELETE", path);

/** `expected`: a 401 is for the caller; else everybody is told that the session is over. */
async function ask(method, path, body, { expected = false, patience = PATIENCE } = {}) {
  const headers = { Accept: "application/json" };
  const proof = localStorage.getItem(PROOF);
  if (proof) headers["X-CSRF-Token"] = proof;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const request = { method, headers, credentials: "same-origin", cache: "no-store", redirect: "error" };
  if (body !== undefined) request.body = JSON.stringify(body);
  if (patience) request.signal = AbortSignal.timeout(patience);
  let answer;
  let text;
  try {
    answer = await fetch(path, request);
    text = await answer.text();
  } catch {
    throw new Problem({ code: "gone", message: "injector ui does not answer" });
  }
  if (answer.ok) return text ? JSON.parse(text) : null;
  const problem = new Problem(described(text, answer.status), answer.status);
  if (answer.status === 401 && !expected) signedOut(problem);
  throw problem;
}

function described(text, status) {
  try {
    const { error } = JSON.parse(text);
    if (typeof error?.message === "string") return error;
  } catch {
    // it is not from our program: what follows says so
  }
  return { code: `http-${status}`, message: `the program answered ${status}` };
}
