/** Plots, drawn as SVG: each says in words what it shows. */

import { h } from "./element.js";
import { change, count, day, duration, moment } from "./format.js";
import { CATEGORIES } from "./table.js";

const line = (points) => points.map(([x, y], index) => `${index ? "L" : "M"}${x.toFixed(1)},${y.toFixed(1)}`).join("");

/** Return a function from a value to a place between two ends. */
function scale(from, to, start, end) {
  const width = to - from || 1;
  return (value) => start + ((value - from) / width) * (end - start);
}

/** The members of the last evaluations as a small line. */
export function Sparkline({ points }) {
  if (points.length < 2) return h("span", { className: "cij-muted" }, points.length ? "1 evaluation" : "");
  const [width, height] = [88, 26];
  const members = points.map((point) => point.members);
  const x = scale(0, points.length - 1, 3, width - 4);
  const y = scale(Math.min(...members), Math.max(...members), height - 4, 4);
  const places = members.map((value, index) => [x(index), y(value)]);
  const [lastX, lastY] = places[places.length - 1];
  const words = `Members of the last ${points.length} evaluations: ${members.map(count).join(", ")}`;
  return h(
    "svg",
    { className: "cij-spark", viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": words },
    h("path", { className: "cij-area", d: `${line(places)}L${lastX},${height}L3,${height}Z` }),
    h("path", { className: "cij-line", d: line(places) }),
    h("circle", { className: "cij-dot", cx: lastX, cy: lastY, r: 2.5 }),
  );
}

/** Return a few round numbers from 0 or below the least to above the most. */
function ticks(least, most, wanted = 4) {
  const rough = (most - least || most || 1) / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max([1, 2, 5, 10].find((factor) => factor * power >= rough) * power, 1);
  const first = Math.floor(least / step) * step;
  return Array.from({ length: Math.ceil((most - first) / step) + 1 }, (_, index) => first + index * step);
}

/** The members of a segment over time, with the events on it. */
export function Members({ row }) {
  const { points, events } = row;
  if (!points.length) return h("p", { className: "cij-muted" }, "No evaluation is known yet.");
  const [width, height, left, right, top, bottom] = [900, 230, 56, 16, 12, 46];
  const values = points.map((point) => point.members);
  const marks = ticks(Math.min(...values), Math.max(...values));
  const times = [...points.map((point) => point.at), ...events.map((event) => event.at)];
  const x = scale(Math.min(...times), Math.max(...times), left + 8, width - right - 8);
  const y = scale(marks[0], marks[marks.length - 1], height - bottom, top);
  const places = points.map((point) => [x(point.at), y(point.members)]);
  const floor = height - bottom;
  const words = `${row.name}: ${count(values[0])} members on ${day(points[0].at)}, ${count(row.members)} on ${day(points[points.length - 1].at)}`;
  const others = events.filter((event) => !event.extra.evaluated_at);
  return h(
    "svg",
    { className: "cij-plot", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": words },
    marks.map((mark) =>
      h(
        "g",
        { key: mark },
        h("line", { className: "cij-grid", x1: left, x2: width - right, y1: y(mark), y2: y(mark) }),
        h("text", { x: left - 8, y: y(mark) + 4, textAnchor: "end" }, count(mark)),
      ),
    ),
    timeMarks(points).map(({ at }) => h("text", { key: at, x: x(at), y: height - 6, textAnchor: "middle" }, day(at).replace(/ \d{4}$/, ""))),
    h("path", { className: "cij-area", d: `${line(places)}L${places[places.length - 1][0]},${floor}L${places[0][0]},${floor}Z` }),
    h("path", { className: "cij-line", d: line(places) }),
    points.map((point, index) =>
      h(
        "circle",
        { key: point.at, className: "cij-dot", cx: places[index][0], cy: places[index][1], r: 4 },
        h("title", null, `${moment(point.at)}: ${count(point.members)} members${point.change == null ? "" : `, ${change(point.change)}`}${point.seconds == null ? "" : `, in ${duration(point.seconds)}`}`),
      ),
    ),
    others.map((event) =>
      h(
        "path",
        { key: `${event.at}${event.task}${event.asset}`, className: `cij-mark cij-mark-${markOf(event)}`, d: `M${x(event.at)},${floor + 6}l5,9h-10z` },
        h("title", null, `${moment(event.at)}: ${sayEvent(event)}`),
      ),
    ),
  );
}

const markOf = (event) => (event.extra.read != null ? "list" : "state");

/** Say what an event is. */
export function sayEvent({ task: emitter, asset, extra }) {
  const task = emitter || asset;
  if (extra.evaluated_at) return `${task}: evaluated, ${count(extra.member_count)} members${extra.change == null ? "" : ` (${change(extra.change)})`}`;
  if (extra.read != null) return `${task}: ${count(extra.read)} read, ${count(extra.added)} added, ${count(extra.removed)} removed`;
  return `${task}: ${extra.status ?? "changed"}`;
}

/** Return up to six points whose dates stand under the plot. */
function timeMarks(points) {
  const step = Math.max(1, Math.ceil(points.length / 6));
  return points.filter((_, index) => (points.length - 1 - index) % step === 0);
}

const LABELS = { live: "Live", refreshing: "Refreshing", stale: "Stale", failed: "Failed", ended: "Draft or stopped" };

/** The word for a category of segments. */
export const labelOf = (category) => LABELS[category];

/** How many segments are live, refreshing, stale or failed; a press shows them alone. */
export function StateBar({ rows, chosen, onChoose }) {
  const groups = CATEGORIES.map((category) => [category, rows.filter((row) => row.category === category).length]);
  const shown = groups.filter(([category, size]) => size || (category !== "ended" && rows.length));
  return h(
    "div",
    null,
    h(
      "div",
      { className: "cij-bar", "aria-hidden": true },
      shown.map(([category, size]) => size > 0 && h("span", { key: category, className: `cij-fill cij-${category}`, style: { flexGrow: size } })),
    ),
    h(
      "ul",
      { className: "cij-legend", "aria-label": "Segments by state" },
      shown.map(([category, size]) =>
        h(
          "li",
          { key: category },
          h(
            "button",
            { type: "button", "aria-pressed": chosen === category, onClick: () => onChoose(chosen === category ? "" : category) },
            h("span", { className: `cij-swatch cij-${category}` }),
            h("b", null, count(size)),
            ` ${LABELS[category]}`,
          ),
        ),
      ),
    ),
  );
}

/** How long refreshes took in each week: the median as a bar, the longest as a line above it. */
export function Durations({ weeks }) {
  const [width, height, left, top, floor] = [560, 96, 64, 10, 76];
  const step = (width - left) / weeks.length;
  const bar = step * 0.7;
  const most = Math.max(...weeks.map((week) => week.longest ?? 0), 1);
  const y = scale(0, most, floor, top);
  const known = weeks.filter((week) => week.refreshes);
  const say = (week) =>
    `Week from ${day(week.from)}: ${week.refreshes ? `${count(week.refreshes)} refreshes, median ${duration(week.median)}, longest ${duration(week.longest)}` : "none"}`;
  const words = `Refresh duration by week. ${known.map(say).join("; ") || "None is known."}`;
  const labelled = Math.ceil(weeks.length / 4);
  return h(
    "svg",
    { className: "cij-bars", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": words },
    known.length > 0 && [0, most].map((mark) => h("text", { key: mark, x: left - 8, y: y(mark) + 4, textAnchor: "end" }, duration(mark))),
    [0, most].map((mark) => h("line", { key: mark, className: "cij-grid", x1: left, x2: width, y1: y(mark), y2: y(mark) })),
    weeks.map((week, index) => {
      const x = left + index * step + (step - bar) / 2;
      return h(
        "g",
        { key: week.from },
        h("title", null, say(week)),
        h("rect", { className: "cij-hit", x: left + index * step, y: 0, width: step, height: floor }),
        week.refreshes > 0 && h("rect", { className: "cij-column", x, y: y(week.median), width: bar, height: floor - y(week.median), rx: 2 }),
        week.refreshes > 0 && h("line", { className: "cij-longest", x1: x, x2: x + bar, y1: y(week.longest), y2: y(week.longest) }),
        (weeks.length - 1 - index) % labelled === 0 && h("text", { x: x + bar / 2, y: height - 5, textAnchor: "middle" }, day(week.from).replace(/ \d{4}$/, "")),
      );
    }),
  );
}
