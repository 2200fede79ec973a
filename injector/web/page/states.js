// The words for states, in one place.

/** Of files, the ones that need somebody first. */
export const FILE_STATES = {
  failed: { label: "Failed", means: "There is no good file, or the settings say that an old one is not good enough." },
  stale: {
    label: "Stale",
    means: "The last good file stands; newer values or a newer template could not be rendered.",
  },
  pending: { label: "Pending", means: "Not rendered yet." },
  ready: { label: "Ready", means: "What is published is what should be." },
  removed: { label: "Removed", means: "The template is gone." },
};

/** Of plugins: word and picture. */
export const PLUGIN_STATES = {
  idle: ["Idle", "removed"],
  starting: ["Starting", "pending"],
  running: ["Running", "ready"],
  lost: ["Lost", "stale"],
  "given-up": ["Given up", "failed"],
  closed: ["Closed", "removed"],
};

/** Whether a file keeps the sidecar from being ready. */
export function holdsBack(file) {
  if (!file.required || file.state === "ready" || file.state === "removed") return false;
  return file.state !== "stale" || file.tooStale;
}
