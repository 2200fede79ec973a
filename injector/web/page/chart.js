// The chart of refreshes, drawn by hand: rendered files as bars, the age of the oldest value as a line, and lanes that
// say when files were stale, when they had failed, and when the sidecar did not answer. A table has the same.

import { byId, counted, el, keyed, ofDay, say, shape, span } from "./dom.js";

const LEFT = 74;
const RIGHT = 10;
const BARS = { top: 12, height: 84 };
const LINE = { top: 116, height: 56 };
const LANES = { top: 188, height: 12, gap: 6 };
const LANE_ROWS = [
  ["stale", "Stale"],
  ["failed", "Failed"],
  ["away", "No answer"],
];
const AXIS = LANES.top + LANE_ROWS.length * (LANES.height + LANES.gap) + 2;
const HEIGHT = AXIS + 22;
const LEAST = 60; // seconds that are shown at least
const NARROWEST = 5; // pixels of a bar and its gap
const MINUTE = 60;
const STEPS = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200, 86400, 172800, 604800];

let history = { interval: 5, samples: [] };
let drawn = 0;

export function setUpChart() {
  new ResizeObserver(() => {
    if (byId("chart").clientWidth !== drawn) draw();
  }).observe(byId("chart"));
  byId("chart-details").addEventListener("toggle", fillTable);
  const entries = [
    ["bar", "Files rendered"],
    ["line", "Age of the oldest value"],
  ];
  for (const [name, label] of entries) {
    const sample =
      name === "line"
        ? shape("path", { d: "M1 9 8 3 15 7", class: "line" })
        : shape("rect", { x: 2, y: 2, width: 12, height: 8, class: name });
    byId("chart-legend").append(
      el("li", {}, shape("svg", { viewBox: "0 0 16 12", "aria-hidden": "true" }, sample), label),
    );
  }
}

/** Shows an answer of /api/history. */
export function showHistory(next) {
  history = next;
  draw();
  say(byId("chart-summary"), summary());
  fillTable();
}

// ---------------------------------------------------------------------------------------------------- numbers

/** Samples put together: sums and worst cases of `seconds` each, from the oldest on. */
function buckets(seconds) {
  const found = [];
  for (const sample of history.samples) {
    const from = Math.floor(sample.at / seconds) * seconds;
    let last = found.at(-1);
    if (last?.from !== from) {
      last = { from, to: from + seconds, rendered: 0, ready: 0, stale: 0, failed: 0, oldest: null, away: false };
      found.push(last);
    }
    last.rendered += sample.rendered;
    last.ready = sample.files.ready;
    last.stale = Math.max(last.stale, sample.files.stale);
    last.failed = Math.max(last.failed, sample.files.failed);
    if (sample.oldestAge !== null) last.oldest = Math.max(last.oldest ?? 0, sample.oldestAge);
    last.away ||= !sample.reachable;
  }
  return found;
}

function summary() {
  const { samples, interval } = history;
  if (samples.length < 2) return "The first samples are being taken.";
  const during = (is) => samples.filter(is).length * interval;
  const files = samples.reduce((sum, sample) => sum + sample.rendered, 0);
  const parts = [`${counted(files, "file")} rendered in the last ${span(samples.at(-1).at - samples[0].at)}`];
  const stale = during((sample) => sample.files.stale > 0);
  const failed = during((sample) => sample.files.failed > 0);
  const away = during((sample) => !sample.reachable);
  if (stale) parts.push(`files stale for ${span(stale)}`);
  if (failed) parts.push(`files failed for ${span(failed)}`);
  if (away) parts.push(`no answer for ${span(away)}`);
  const ages = samples.map((sample) => sample.oldestAge).filter((age) => age !== null);
  if (ages.length) parts.push(`oldest value ${span(ages.at(-1))} old, at most ${span(Math.max(...ages))}`);
  return `${parts.join(" · ")}.`;
}

/** Up to `most` round steps above zero. */
function ticks(highest, most, whole) {
  if (highest <= 0) return [];
  const steps = whole
    ? [1, 2, 5].flatMap((step) => [step, step * 10, step * 100, step * 1000, step * 10000]).sort((a, b) => a - b)
    : STEPS;
  const step = steps.find((each) => highest / each <= most) ?? highest;
  return Array.from({ length: Math.floor(highest / step) }, (_, index) => (index + 1) * step);
}

// ---------------------------------------------------------------------------------------------------- picture

function draw() {
  const frame = byId("chart");
  const width = frame.clientWidth;
  drawn = width;
  if (!width) return;
  const { samples, interval } = history;
  const end = samples.at(-1)?.at ?? Date.now() / 1000;
  const length = Math.max(LEAST, samples.length ? end - samples[0].at : 0);
  const plot = width - LEFT - RIGHT;
  const scale = {
    x: (at) => LEFT + plot * Math.min(1, Math.max(0, 1 - (end - at) / length)),
    plot,
    end,
    length,
    width,
  };
  const least = (NARROWEST * length) / plot;
  const seconds = Math.max(interval, STEPS.find((step) => step >= least) ?? least);
  const all = buckets(seconds);
  const picture = shape("svg", {
    class: "chart",
    width,
    height: HEIGHT,
    viewBox: `0 0 ${width} ${HEIGHT}`,
    "aria-hidden": "true",
  });
  picture.append(...timeAxis(scale), ...bars(all, scale), ...line(all, scale), ...lanes(all, scale));
  follow(picture, all, scale);
  frame.replaceChildren(picture);
  say(byId("chart-span"), reading(null));
}

const label = (x, y, text, anchor) => shape("text", { x, y, "text-anchor": anchor }, text);
const rule = (x1, y1, x2, y2, classes = "grid") => shape("path", { class: classes, d: `M${x1} ${y1} ${x2} ${y2}` });
const round = (number) => Math.round(number * 10) / 10;

function timeAxis({ x, plot, end, length, width }) {
  const step = STEPS.find((each) => each >= 10 && (plot * each) / length >= 84) ?? length;
  const letters = step < MINUTE ? 8 : 5; // of 14:02:10
  const parts = [rule(LEFT, AXIS, width - RIGHT, AXIS, "axis")];
  const shift = new Date(end * 1000).getTimezoneOffset() * MINUTE;
  for (let at = Math.ceil((end - length - shift) / step) * step + shift; at <= end; at += step) {
    const place = round(x(at));
    parts.push(rule(place, BARS.top, place, AXIS), rule(place, AXIS, place, AXIS + 4, "axis"));
    if (place > LEFT + 14 && place < width - 26)
      parts.push(label(place, AXIS + 17, ofDay(at).slice(0, letters), "middle"));
  }
  return parts;
}

function bars(all, { x, width }) {
  const highest = Math.max(1, ...all.map((each) => each.rendered));
  const bottom = BARS.top + BARS.height;
  const y = (count) => bottom - (BARS.height * count) / highest;
  const parts = [rule(LEFT, bottom, width - RIGHT, bottom, "axis"), label(LEFT - 8, bottom + 4, "0", "end")];
  for (const tick of ticks(highest, 3, true)) {
    parts.push(
      rule(LEFT, round(y(tick)), width - RIGHT, round(y(tick))),
      label(LEFT - 8, round(y(tick)) + 4, tick.toLocaleString("en"), "end"),
    );
  }
  for (const each of all.filter(({ rendered }) => rendered > 0)) {
    const [left, right] = [x(each.from), x(each.to)];
    parts.push(
      shape("rect", {
        class: "bar",
        x: round(left),
        y: round(y(each.rendered)),
        width: round(Math.max(2, right - left - 1)),
        height: round(bottom - y(each.rendered)),
      }),
    );
  }
  return parts;
}

function line(all, { x, width }) {
  const highest = Math.max(1, ...all.map((each) => each.oldest ?? 0));
  const bottom = LINE.top + LINE.height;
  const y = (age) => bottom - (LINE.height * age) / highest;
  const parts = [rule(LEFT, bottom, width - RIGHT, bottom, "axis"), label(LEFT - 8, bottom + 4, "0", "end")];
  for (const tick of ticks(highest, 2, false)) {
    parts.push(
      rule(LEFT, round(y(tick)), width - RIGHT, round(y(tick))),
      label(LEFT - 8, round(y(tick)) + 4, span(tick), "end"),
    );
  }
  let path = "";
  let before = null;
  for (const each of all) {
    if (each.oldest !== null) {
      path += `${before === null ? "M" : "L"}${round(x((each.from + each.to) / 2))} ${round(y(each.oldest))}`;
    }
    before = each.oldest;
  }
  parts.push(shape("path", { class: "line", d: path || "M0 0" }));
  return parts;
}

function lanes(all, { x, width }) {
  const parts = [];
  LANE_ROWS.forEach(([name, text], row) => {
    const top = LANES.top + row * (LANES.height + LANES.gap);
    parts.push(
      shape("rect", { class: "lane", x: LEFT, y: top, width: width - RIGHT - LEFT, height: LANES.height }),
      label(0, top + 10, text, "start"),
    );
    for (const [from, to] of runs(all, name)) {
      parts.push(
        shape("rect", {
          class: name,
          x: round(x(from)),
          y: top,
          width: round(Math.max(2, x(to) - x(from))),
          height: LANES.height,
        }),
      );
    }
  });
  return parts;
}

/** From when to when something was so, without the seams of the buckets. */
function runs(all, name) {
  const found = [];
  for (const each of all.filter((bucket) => bucket[name])) {
    if (found.at(-1)?.[1] >= each.from) found.at(-1)[1] = each.to;
    else found.push([each.from, each.to]);
  }
  return found;
}

/** Tells the numbers under the pointer, in the line above the picture. */
function follow(picture, all, { plot, end, length }) {
  const mark = rule(0, 0, 0, 0, "mark");
  picture.append(mark);
  const move = (event) => {
    const at = end - length * (1 - (event.offsetX - LEFT) / plot);
    const each = all.findLast((bucket) => bucket.from <= at);
    const inside = each && event.offsetX >= LEFT && at <= each.to;
    mark.setAttribute("d", inside ? `M${event.offsetX} ${BARS.top} V${AXIS}` : "M0 0");
    say(byId("chart-span"), reading(inside ? each : null));
  };
  picture.addEventListener("pointermove", move);
  picture.addEventListener("pointerleave", () => {
    mark.setAttribute("d", "M0 0");
    say(byId("chart-span"), reading(null));
  });
}

function reading(each) {
  if (!each) return `a sample every ${span(history.interval)}`;
  if (each.away) return `${ofDay(each.from)}: no answer`;
  const parts = [`${each.rendered} rendered`, `${each.ready} ready`];
  if (each.stale) parts.push(`${each.stale} stale`);
  if (each.failed) parts.push(`${each.failed} failed`);
  if (each.oldest !== null) parts.push(`oldest value ${span(each.oldest)}`);
  return `${ofDay(each.from)}: ${parts.join(", ")}`;
}

// ---------------------------------------------------------------------------------------------------- table

function fillTable() {
  if (!byId("chart-details").open) return;
  const rows = buckets(Math.max(history.interval, MINUTE)).reverse();
  keyed(
    byId("chart-table").tBodies[0],
    rows,
    (row) => String(row.from),
    () => {
      const cells = Array.from({ length: 6 }, (_, index) => el("td", { class: index < 5 ? "num" : null }));
      const from = el("th", { scope: "row" });
      const update = (row) => {
        say(from, ofDay(row.from));
        const texts = [
          row.rendered,
          row.ready,
          row.stale,
          row.failed,
          row.oldest === null ? "–" : span(row.oldest),
          row.away ? "no answer" : "answered",
        ];
        texts.forEach((text, index) => say(cells[index], String(text)));
      };
      return { node: el("tr", {}, from, ...cells), update };
    },
  );
}
