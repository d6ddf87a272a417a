/** The segments: how they are by and large, filters, and the table of all of them. */

import { Durations, labelOf, Members, sayEvent, Sparkline, StateBar } from "./charts.js";
import { Cell, Field, h, Head, Inside, Message, Origin, Outside, State, Table, taskPath, Two, useMemo } from "./element.js";
import { ago, change, count, day, duration, moment, percent } from "./format.js";
import { secondsByWeek } from "./history.js";
import { choices, COLUMNS, csv, DEFAULTS, filter, isExpiring, isFiltered, nextSort, sort } from "./table.js";

const SHOWN_EVENTS = 12;

/** The view of all segments. */
export function Segments({ rows, state, onState, now, connections }) {
  const shown = useMemo(() => sort(filter(rows, state, now), state.sort), [rows, state, now]);
  const weeks = useMemo(() => secondsByWeek(rows, Number(state.weeks), now), [rows, state.weeks, now]);
  if (!rows.length) return h(Beginning);
  return h(
    "div",
    { className: "cij-view" },
    h(
      "div",
      { className: "cij-cards" },
      h(
        "section",
        { className: "cij-card cij-card-wide" },
        h("h2", null, "Segments by state"),
        h(StateBar, { rows, chosen: state.state, onChoose: (category) => onState({ state: category }) }),
      ),
      h("section", { className: "cij-card" }, h("h2", null, "Refresh duration by week"), h(Durations, { weeks })),
    ),
    h(Filters, { rows, shown, state, onState, connections }),
    shown.length
      ? h(Rows, { rows: shown, state, onState, now })
      : h(Message, { title: "No segment matches" }, h("p", null, "Change the filters, or clear them.")),
  );
}

function Filters({ rows, shown, state, onState, connections }) {
  const set = (name) => (event) => onState({ [name]: event.target.value });
  const select = (name, label, all, values) =>
    h(
      Field,
      { label },
      h(
        "select",
        { value: state[name], onChange: set(name) },
        h("option", { value: "" }, all),
        values.map((value) => h("option", { key: value, value }, value)),
      ),
    );
  const amount = (name, label, unit) =>
    h(
      Field,
      { label },
      h(
        "span",
        { className: "cij-amount" },
        h("input", { type: "number", min: 0, step: "any", inputMode: "decimal", value: state[name], onChange: set(name) }),
        h("span", null, unit),
      ),
    );
  const clear = Object.fromEntries(["q", "state", "dag", "tag", "connection", "changed", "older", "use"].map((name) => [name, DEFAULTS[name]]));
  return h(
    "form",
    { className: "cij-filters", role: "search", "aria-label": "Segments", onSubmit: (event) => event.preventDefault() },
    h(Field, { label: "Search" }, h("input", { type: "search", value: state.q, placeholder: "Name, id, DAG or task", onChange: set("q") })),
    select("tag", "Tag", "All tags", choices(rows, "tags")),
    select("dag", "DAG", "All DAGs", choices(rows, "dags")),
    select("connection", "Connection", "All connections", connections),
    amount("changed", "Changed more than", "%"),
    amount("older", "Older than", "days"),
    h(
      Field,
      { label: "Use" },
      h("select", { value: state.use, onChange: set("use") }, [["", "Any use"], ["unused", "Unused"], ["expiring", "Expires in 30 days"]].map(([value, label]) => h("option", { key: value, value }, label))),
    ),
    h(
      Field,
      { label: "Failed" },
      h("input", { type: "checkbox", checked: state.state === "failed", onChange: (event) => onState({ state: event.target.checked ? "failed" : "" }) }),
    ),
    h("span", { className: "cij-count", role: "status" }, shown.length === rows.length ? `${count(rows.length)} segments` : `${count(shown.length)} of ${count(rows.length)} segments`),
    h("button", { type: "button", className: "cij-button", disabled: !isFiltered(state), onClick: () => onState(clear) }, "Clear filters"),
    h("button", { type: "button", className: "cij-button", onClick: () => download(shown) }, "Download CSV"),
  );
}

function download(rows) {
  const address = URL.createObjectURL(new Blob([csv(rows)], { type: "text/csv" }));
  Object.assign(document.createElement("a"), { href: address, download: "cij-segments.csv" }).click();
  URL.revokeObjectURL(address);
}

function Rows({ rows, state, onState, now }) {
  const columns = COLUMNS.map((column) => {
    const turned = state.sort === `-${column.id}`;
    const sorted = turned || state.sort === column.id;
    if (column.unsorted) return h(Head, { key: column.id, text: true }, column.label);
    return h(
      Head,
      { key: column.id, text: column.text, "aria-sort": sorted ? (turned ? "descending" : "ascending") : "none" },
      h(
        "button",
        { type: "button", onClick: () => onState({ sort: nextSort(state.sort, column) }) },
        column.label,
        h("span", { className: "cij-arrow", "aria-hidden": true }, sorted ? (turned ? "▼" : "▲") : ""),
      ),
    );
  });
  return h(
    Table,
    { caption: "Segments", columns, className: "cij-fills" },
    rows.map((row) => h(Row, { key: row.key, row, now, open: state.segment === row.key, onOpen: (open) => onState({ segment: open ? row.key : "" }) })),
  );
}

function Row({ row, now, open, onOpen }) {
  const details = `cij-${row.key}`;
  return [
    h(
      "tr",
      { key: "row", className: open ? "cij-open" : undefined },
      h(
        "th",
        { scope: "row" },
        h(
          "span",
          { className: "cij-name" },
          h(
            "button",
            { type: "button", className: "cij-expand", "aria-expanded": open, "aria-controls": details, "aria-label": `Members over time of ${row.name}`, onClick: () => onOpen(!open) },
            h("span", { "aria-hidden": true }, "›"),
          ),
          h(Outside, { href: row.link }, row.name),
        ),
      ),
      h(Cell, { text: true }, h(Origin, { row })),
      h(Cell, { text: true }, h(Two, { first: h(State, { kind: row.category }, labelOfRow(row)), second: shownUse(row, now), title: sayUse(row, now) })),
      h(Cell, null, h("b", null, count(row.members))),
      h(Cell, null, h(Two, { first: change(row.change), second: percent(row.changeShare) })),
      h(Cell, null, h(Two, { first: change(row.week), second: percent(row.weekShare) })),
      h(Cell, { text: true }, h(Sparkline, { points: row.recent })),
      h(Cell, null, h(Two, { first: day(row.evaluated), second: ago(row.evaluated, now), title: moment(row.evaluated) })),
      h(Cell, null, duration(row.seconds)),
      ...["read", "added", "removed", "invalid", "notFound", "optedOut"].map((name) => h(Cell, { key: name }, h(Few, { value: row[name] }))),
      h(Cell, { text: true, className: "cij-error", title: row.hint ? `${row.error} ${row.hint}` : row.error }, row.error),
      h(Cell, { text: true }, row.log.run ? h(Inside, { to: taskPath(row.log), "aria-label": `Log of ${row.log.task} for ${row.name}` }, "Log") : null),
    ),
    open && h("tr", { key: "details", id: details, className: "cij-details" }, h("td", { colSpan: COLUMNS.length }, h(Details, { row, now }))),
  ];
}

/** What is under the status: that nothing uses the segment, and for how long it stays. */
function shownUse(row, now) {
  if (row.usedBy !== 0) return null;
  if (isExpiring(row, now)) return h("span", { className: "cij-warning" }, `expires ${ago(row.expires, now)}`);
  return row.expires ? `unused, ${ago(row.expires, now).replace("in ", "")} left` : "unused";
}

/** Say what uses a segment, and when it expires. */
function sayUse(row, now) {
  if (row.usedBy == null) return undefined;
  if (row.usedBy) return `used by ${count(row.usedBy)} live ${row.usedBy > 1 ? "journeys" : "journey"}`;
  return row.expires ? `unused: expires ${ago(row.expires, now)}, on ${day(row.expires)}, unless a journey uses it` : "unused";
}

/** Zero is shown, but does not catch the eye. */
const Few = ({ value }) => h("span", { className: value ? undefined : "cij-muted" }, count(value));

function labelOfRow(row) {
  if (row.category === "ended") return row.status.replaceAll("_", " ");
  if (row.category === "failed" && row.tasks.some((task) => task.state === "up_for_retry")) return "Failed, retrying";
  return labelOf(row.category);
}

function Details({ row, now }) {
  const events = row.events.slice(-SHOWN_EVENTS).reverse();
  return h(
    "div",
    { className: "cij-detail" },
    h(
      "figure",
      null,
      h("figcaption", null, h("b", null, `Members of ${row.name}`), row.usedBy == null ? "" : ` · ${sayUse(row, now)}`),
      h(Members, { row }),
      h("p", { className: "cij-key" }, h("i", { className: "cij-swatch cij-live" }), "evaluation", h("i", { className: "cij-triangle cij-mark-list" }), "list of members", h("i", { className: "cij-triangle cij-mark-state" }), "other change"),
    ),
    h(
      "div",
      null,
      h("b", null, "Newest events"),
      h(
        "ol",
        { className: "cij-events" },
        row.tasks.filter((task) => task.failed).map((task) => h("li", { key: `${task.run}${task.task}` }, h(Inside, { to: taskPath(task) }, moment(task.ended ?? task.runAfter)), ` ${task.task}: ${row.error}`, row.hint ? h("em", null, ` ${row.hint}`) : null)),
        events.map((event) => h("li", { key: `${event.at}${event.task}${event.asset}` }, event.run ? h(Inside, { to: taskPath(event) }, moment(event.at)) : moment(event.at), ` ${sayEvent(event)}`)),
      ),
    ),
  );
}

/** What to do first. */
export function Beginning() {
  const example = `from airflow_provider_cij.operators.segments import CijRefreshSegmentOperator

CijRefreshSegmentOperator(
    task_id="refresh", segment_id="name:VIP customers", deferrable=True
)`;
  return h(
    Message,
    { title: "No segment was refreshed yet" },
    h("p", null, "This page shows each segment that a task of this package creates, fills, publishes or refreshes: it reads the asset events that those tasks emit by themselves."),
    h("ol", null, h("li", null, "Add a connection of type ", h("b", null, "Dynamics 365 Customer Insights - Journeys"), " under Admin, Connections, and press Test."), h("li", null, "Put a task into a DAG, such as this one:", h("pre", null, h("code", null, example))), h("li", null, "Run the DAG. Its segments appear here when the task has succeeded, waits or has failed.")),
  );
}
