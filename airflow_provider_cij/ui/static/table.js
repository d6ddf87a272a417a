/** Filter, sort and export the table of segments; keep its state in the address. Pure functions. */

import { DAY } from "./format.js";

const SOON = 30 * DAY;

export const CATEGORIES = ["live", "refreshing", "stale", "failed", "ended"];

// What needs a person comes first.
const URGENT = ["failed", "stale", "refreshing", "live", "ended"];

/** The columns, in their order: what they are called, what they sort by, and what the CSV file holds. */
export const COLUMNS = [
  { id: "name", label: "Segment", text: true },
  { id: "dag", label: "DAG and task", text: true, value: (row) => `${row.dag}.${row.task}` },
  { id: "category", label: "Status", text: true, value: (row) => URGENT.indexOf(row.category) },
  { id: "members", label: "Members" },
  { id: "change", label: "Since last run", value: (row) => row.changeShare ?? row.change },
  { id: "week", label: "In a week", value: (row) => row.weekShare ?? row.week },
  { id: "recent", label: "Last 12", unsorted: true },
  { id: "evaluated", label: "Evaluated" },
  { id: "seconds", label: "Took" },
  { id: "read", label: "Read" },
  { id: "added", label: "Added" },
  { id: "removed", label: "Removed" },
  { id: "invalid", label: "Invalid" },
  { id: "notFound", label: "Not found" },
  { id: "optedOut", label: "Opted out" },
  { id: "error", label: "Last error", text: true },
  { id: "log", label: "Log", unsorted: true },
];

const CSV = [
  ["segment", (row) => row.name],
  ["segment_id", (row) => row.id],
  ["connection", (row) => row.connection],
  ["dag", (row) => row.dag],
  ["task", (row) => row.task],
  ["state", (row) => row.category],
  ["status", (row) => row.status],
  ["members", (row) => row.members],
  ["change", (row) => row.change],
  ["change_share", (row) => row.changeShare],
  ["week_change", (row) => row.week],
  ["week_change_share", (row) => row.weekShare],
  ["evaluated_at", (row) => iso(row.evaluated)],
  ["age_seconds", (row) => (row.age == null ? null : Math.round(row.age / 1000))],
  ["refresh_seconds", (row) => row.seconds],
  ["read", (row) => row.read],
  ["added", (row) => row.added],
  ["removed", (row) => row.removed],
  ["invalid", (row) => row.invalid],
  ["not_found", (row) => row.notFound],
  ["opted_out", (row) => row.optedOut],
  ["used_by", (row) => row.usedBy],
  ["expires_at", (row) => iso(row.expires)],
  ["last_error", (row) => row.error],
  ["link", (row) => row.link],
];

const iso = (moment) => (moment == null ? null : new Date(moment).toISOString());

/** What the address says when it says nothing. */
export const DEFAULTS = {
  tab: "segments",
  weeks: "12",
  q: "",
  state: "",
  dag: "",
  tag: "",
  connection: "",
  changed: "",
  older: "",
  use: "",
  sort: "category",
  segment: "",
};

/** Return the state that an address has, with its defaults. */
export function readState(parameters) {
  return Object.fromEntries(Object.entries(DEFAULTS).map(([name, value]) => [name, parameters.get(name) ?? value]));
}

/** Return the parameters of an address for a state; what is as usual is left out, and others' are kept. */
export function writeState(state, parameters) {
  const written = new URLSearchParams(parameters);
  for (const [name, value] of Object.entries(DEFAULTS)) {
    if (state[name] === value) written.delete(name);
    else written.set(name, state[name]);
  }
  return written;
}

/** Return whether the service lets an unused segment expire soon. */
export const isExpiring = (row, now) => row.expires != null && row.expires - now < SOON;

/** Return whether any filter is set. */
export const isFiltered = (state) =>
  ["q", "state", "dag", "tag", "connection", "changed", "older", "use"].some((name) => state[name]);

const positive = (text) => {
  const value = Number.parseFloat(text);
  return value > 0 ? value : null;
};

/** Return the rows that a state's filters let through. */
export function filter(rows, state, now) {
  const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
  const changed = positive(state.changed);
  const older = positive(state.older);
  return rows.filter(
    (row) =>
      words.every((word) => `${row.name} ${row.id} ${row.dag} ${row.task}`.toLowerCase().includes(word)) &&
      (!state.state || row.category === state.state) &&
      (!state.dag || row.dags.includes(state.dag)) &&
      (!state.tag || row.tags.includes(state.tag)) &&
      (!state.connection || row.connection === state.connection) &&
      (changed == null || Math.abs(row.changeShare ?? 0) * 100 > changed) &&
      (older == null || row.evaluated == null || now - row.evaluated > older * DAY) &&
      (state.use !== "unused" || row.usedBy === 0) &&
      (state.use !== "expiring" || isExpiring(row, now)),
  );
}

const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

/** Return rows in the order of a column; `-` in front of its id turns it round. Unknown values come last. */
export function sort(rows, order) {
  const column = COLUMNS.find(({ id }) => id === order.replace("-", "")) ?? COLUMNS[0];
  const turn = order.startsWith("-") ? -1 : 1;
  const value = column.value ?? ((row) => row[column.id]);
  return [...rows].sort((a, b) => {
    const [left, right] = [value(a), value(b)];
    if (left == null || right == null) return (left == null) - (right == null) || collator.compare(a.name, b.name);
    const found = typeof left === "string" ? collator.compare(left, right) : left - right;
    return turn * found || collator.compare(a.name, b.name);
  });
}

/** Return the order after a press on a column's header: numbers begin with the largest. */
export function nextSort(order, column) {
  const first = column.text ? column.id : `-${column.id}`;
  const second = column.text ? `-${column.id}` : column.id;
  return order === first ? second : first;
}

/** Return a value for CSV. A text that a spreadsheet would take for a formula gets a quote in front. */
function cell(value) {
  if (value == null) return "";
  if (typeof value === "number") return String(value);
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Return rows as a CSV file (RFC 4180). */
export function csv(rows) {
  const lines = [CSV.map(([name]) => name), ...rows.map((row) => CSV.map(([, value]) => cell(value(row))))];
  return lines.map((line) => `${line.join(",")}\r\n`).join("");
}

/** Return the different values of a name, sorted. */
export const choices = (rows, name) => [...new Set(rows.flatMap((row) => row[name]).filter(Boolean))].sort(collator.compare);
