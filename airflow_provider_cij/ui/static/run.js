/** The tab on a DAG run: what its tasks did, why they failed and what they wait for. */

import { eventsOfRun, noteKey, notesOf, tasksOfRun } from "./api.js";
import { Cell, h, Head, Inside, Message, Outside, reason, settled, State, Table, taskPath, Two, useCallback, useEffect, useState } from "./element.js";
import { useWatching } from "./data.js";
import { ago, change, count, duration } from "./format.js";
import { readEvents, readTask, secure } from "./history.js";
import { subject } from "./others.js";

const KINDS = { success: "live", failed: "failed", up_for_retry: "failed", upstream_failed: "failed", running: "refreshing", deferred: "refreshing", up_for_reschedule: "refreshing" };
const WORDS = { failed: "failed", refreshing: "under way", ended: "not begun or skipped", live: "succeeded" };
const ORDER = Object.keys(WORDS);
const kindOf = (task) => KINDS[task.state] ?? "ended";
const keyOf = (one) => `${one.task}\n${one.mapIndex}`;

/** Read a run's tasks with their events and what they know. */
async function load(dag, run) {
  const [tasks, { events }] = await Promise.all([tasksOfRun(dag, run), eventsOfRun(dag, run)]);
  const open = tasks.filter((task) => ["failed", "up_for_retry", "deferred"].includes(task.state));
  const notes = open.length ? await notesOf(open) : new Map();
  return { tasks: tasks.map((task) => readTask(task, notes.get(noteKey(task)))), events: readEvents(events), now: Date.now() };
}

function RunTab({ dagId, runId }) {
  const [data, setData] = useState({});
  const reload = useCallback(() => load(dagId, runId).then(setData, (error) => setData({ error })), [dagId, runId]);
  useEffect(() => void reload(), [reload]);
  useWatching((data.tasks ?? []).some((task) => task.active || task.state == null), reload);
  if (data.error) return h(Message, { title: "This could not be read", kind: "error" }, h("p", null, reason(data.error)));
  if (!data.tasks) return h("div", { className: "cij-loading", role: "status" }, "Loading tasks…");
  if (!data.tasks.length) {
    return h(Message, { title: "No task of this run works on Customer Insights - Journeys" }, h("p", null, "Tasks of its operators and sensors stand here, with what they changed, why they failed and what they wait for."));
  }
  return h("div", { className: "cij-page" }, h(Summary, data), h(Tasks, data));
}

function Summary({ tasks, events }) {
  const sizes = Object.entries(WORDS).map(([kind, word]) => [kind, word, tasks.filter((task) => kindOf(task) === kind).length]);
  const total = (name) => events.reduce((sum, event) => sum + (event.extra[name] ?? 0), 0);
  const numbers = [["added", total("added")], ["removed", total("removed")]];
  return h(
    "p",
    { className: "cij-summary", role: "status" },
    h("span", null, h("b", null, count(tasks.length)), tasks.length > 1 ? " tasks" : " task"),
    sizes.map(([kind, word, size]) => size > 0 && h("span", { key: kind }, h("i", { className: `cij-swatch cij-${kind}` }), h("b", null, count(size)), ` ${word}`)),
    numbers.map(([name, size]) => size > 0 && h("span", { key: name }, h("b", null, count(size)), ` members ${name}`)),
  );
}

const FACTS = [["member_count", "Members"], ["change", "Change"], ["read", "Read"], ["added", "Added"], ["removed", "Removed"], ["invalid", "Invalid"], ["not_found", "Not found"], ["opted_out", "Opted out"]];

/** Leave out the count of a task that read a list: it is that of the evaluation before. */
const shownOf = (extra) => (extra.read != null && !extra.evaluated_at ? { ...extra, member_count: null } : extra);

/** Return the name of what each task works on, also of tasks that have not begun: others of its group name it. */
function namesOf(tasks, events) {
  const place = ({ task, mapIndex }) => `${task.split(".").slice(0, -1).join(".")}\n${mapIndex}`;
  const known = [...events.map((event) => [event, event.extra.name]), ...tasks.map((task) => [task, task.name])].filter(
    ([one, name]) => name && name !== String(one.mapIndex),
  );
  const byTask = new Map(known.map(([one, name]) => [keyOf(one), name]));
  const byPlace = new Map(known.filter(([one]) => one.task.includes(".") && one.mapIndex >= 0).map(([one, name]) => [place(one), name]));
  return (task) => byTask.get(keyOf(task)) ?? byPlace.get(place(task)) ?? (task.mapIndex < 0 ? task.task : `${task.task} [${task.mapIndex}]`);
}

function Tasks({ tasks, events, now }) {
  const byTask = new Map(events.map((event) => [keyOf(event), shownOf(event.extra)]));
  const names = new Map(events.map((event) => [event.id, event.extra.name]));
  const nameOf = namesOf(tasks, events);
  const facts = FACTS.filter(([fact]) => events.some((event) => event.extra[fact] != null));
  const sorted = [...tasks].sort((a, b) => ORDER.indexOf(kindOf(a)) - ORDER.indexOf(kindOf(b)) || a.mapIndex - b.mapIndex || a.started - b.started);
  const columns = [["Segment or journey", true], ["Task", true], ["State", true], ["What it says", true], ...facts.map(([, label]) => [label]), ["Took"], ["Log", true]];
  return h(
    Table,
    { caption: "Tasks of this run", columns: columns.map(([label, text]) => h(Head, { key: label, text }, label)) },
    sorted.map((task) => {
      const extra = byTask.get(keyOf(task)) ?? {};
      return h(
        "tr",
        { key: keyOf(task) },
        h("th", { scope: "row" }, h(Outside, { href: secure(extra.link) }, nameOf(task))),
        h(Cell, { text: true }, h(Two, { first: task.task, second: task.operator })),
        h(Cell, { text: true }, h(State, { kind: kindOf(task) }, (task.state ?? "not begun").replaceAll("_", " "))),
        h(Cell, { text: true, className: task.failed ? "cij-says cij-error" : "cij-says" }, h(Says, { task, names, now, extra })),
        ...facts.map(([fact]) => h(Cell, { key: fact }, (fact === "change" ? change : count)(extra[fact]))),
        h(Cell, null, duration(task.duration)),
        h(Cell, { text: true }, h(Inside, { to: taskPath(task), "aria-label": `Log of ${task.task} for ${nameOf(task)}` }, "Log")),
      );
    }),
  );
}

/** Why a task failed, what it waits for, or what became of its segment. */
function Says({ task, names, now, extra }) {
  const { note } = task;
  if (task.failed) return note ? h(Two, { first: note.message, second: note.hint }) : "Failed. The log says why.";
  if (note?.until) return `Waits for ${subject(task, names)} to become ${note.until}; gives up ${ago(Date.parse(note.gives_up_at), now)}`;
  return extra.status ? extra.status.replaceAll("_", " ") : "";
}

globalThis["CIJ tasks"] = settled(RunTab);
