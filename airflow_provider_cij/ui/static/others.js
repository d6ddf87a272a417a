/** What waits now, and the journeys. */

import { Cell, h, Head, Inside, Message, Origin, Outside, State, Table, taskPath, Two } from "./element.js";
import { ago, count, duration, moment } from "./format.js";

const head = (labels) => labels.map(([label, text]) => h(Head, { key: label, text }, label));
const time = (text) => (text ? Date.parse(text) : null);

/** Replace the id in what a task waits for by the name of that segment or journey. */
export function subject(task, names) {
  const what = task.note?.what ?? "";
  // Airflow keeps the arguments of a task's newest runs alone: its note names the id as well.
  const id = [...task.ids, ...what.split(" ")].find((one) => names.has(one));
  return id ? what.replace(id, `“${names.get(id)}”`) || `“${names.get(id)}”` : what || task.name || task.task;
}

/** The tasks that wait, those first that wait longest. */
export function Waiting({ tasks, names, now }) {
  const waiting = tasks.filter((task) => task.waiting).sort((a, b) => since(a) - since(b));
  if (!waiting.length) {
    return h(Message, { title: "Nothing is waiting" }, h("p", null, "Deferred tasks are listed here, with what they wait for and when they give up."));
  }
  return h(
    Table,
    { caption: "Waiting now", className: "cij-fills", columns: head([["Waits for", true], ["To become", true], ["DAG and task", true], ["Run", true], ["Since"], ["Gives up"], ["Log", true]]) },
    waiting.map((task) => {
      const ends = time(task.note?.gives_up_at);
      return h(
        "tr",
        { key: `${task.run}${task.task}${task.mapIndex}` },
        h("th", { scope: "row" }, subject(task, names)),
        h(Cell, { text: true }, h(State, { kind: "refreshing" }, task.note?.until ?? task.state.replaceAll("_", " "))),
        h(Cell, { text: true }, h(Origin, { row: task })),
        h(Cell, { text: true }, task.run),
        h(Cell, null, h(Two, { first: duration((now - since(task)) / 1000), second: moment(since(task)) })),
        h(Cell, null, h(Two, { first: ago(ends, now), second: moment(ends) })),
        h(Cell, { text: true }, h(Inside, { to: taskPath(task), "aria-label": `Log of ${task.task} ${task.name}` }, "Log")),
      );
    }),
  );
}

const since = (task) => time(task.note?.since) ?? task.started ?? task.runAfter;

/** The journeys, in the order of their last events. */
export function Journeys({ rows, names, now }) {
  if (!rows.length) {
    return h(
      Message,
      { title: "No journey is known yet" },
      h("p", null, "Journeys that tasks create, publish or stop are listed here. CijExportJourneyParticipantsOperator counts the people in them."),
    );
  }
  return h(
    Table,
    { caption: "Journeys", className: "cij-fills", columns: head([["Journey", true], ["State", true], ["Audience", true], ["In it now"], ["Results", true], ["DAG and task", true], ["Last event"], ["Last error", true], ["Log", true]]) },
    [...rows]
      .sort((a, b) => b.at - a.at)
      .map((row) =>
        h(
          "tr",
          { key: row.key },
          h("th", { scope: "row" }, h(Outside, { href: row.link }, row.name)),
          h(Cell, { text: true }, h(State, { kind: kindOf(row) }, capital(row.status))),
          h(Cell, { text: true }, names.get(String(row.audience).toLowerCase()) ?? row.audience),
          h(Cell, null, count(row.people)),
          h(Cell, { text: true }, results(row)),
          h(Cell, { text: true }, h(Origin, { row })),
          h(Cell, null, h(Two, { first: moment(row.at), second: ago(row.at, now) })),
          h(Cell, { text: true, className: "cij-error", title: row.hint || undefined }, row.error),
          h(Cell, { text: true }, row.log.run ? h(Inside, { to: taskPath(row.log), "aria-label": `Log of ${row.log.task} for ${row.name}` }, "Log") : null),
        ),
      ),
  );
}

/** Return the participants by state; the service's words, without the underlines. */
function results({ results: states, total }) {
  if (!states) return total == null ? "" : `${count(total)} participants`;
  return Object.entries(states)
    .map(([state, people]) => `${count(people)} ${state.replaceAll("_", " ")}`)
    .join(", ");
}

const capital = (status) => status.charAt(0).toUpperCase() + status.slice(1).replaceAll("_", " ");

function kindOf(row) {
  if (row.error) return "failed";
  if (row.tasks.some((task) => task.active) || row.status === "publishing") return "refreshing";
  return row.status.startsWith("live") ? "live" : "ended";
}
