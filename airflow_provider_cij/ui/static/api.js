/**
 * Airflow's REST API, read with the session of the user who looks at the page: Airflow's permissions apply.
 *
 * Addresses are relative to the document's base, so a base path is kept. Only the paths in this file are read.
 */

const PAGE = 100;
const MOST_EVENTS = 10_000;
const MOST_TASKS = 1_000;
const NOT_ENDED = ["running", "deferred", "up_for_reschedule", "up_for_retry"];

/** A response that is no success. */
export class ApiError extends Error {
  constructor(status, path, detail) {
    super(`${path}: HTTP ${status}${detail ? `, ${detail}` : ""}`);
    this.status = status;
  }
}

/** Return the JSON of a GET; a list in the parameters becomes one parameter for each of its values. */
async function get(path, parameters = {}) {
  const url = new URL(`api/v2/${path}`, document.baseURI);
  for (const [name, value] of Object.entries(parameters)) {
    for (const one of [value].flat()) url.searchParams.append(name, one);
  }
  const response = await fetch(url, { credentials: "same-origin", headers: { Accept: "application/json" } });
  if (!response.ok) {
    const { detail } = await response.json().catch(() => ({}));
    throw new ApiError(response.status, path, typeof detail === "string" ? detail : "");
  }
  return response.json();
}

/** Return the rows of all pages, the first one alone and then the others side by side, and how many there are. */
async function getAll(path, key, parameters, most) {
  const first = await get(path, { ...parameters, limit: PAGE, offset: 0 });
  const rows = first[key];
  const total = first.total_entries;
  // A server may allow fewer rows than were asked for.
  const size = rows.length || PAGE;
  const offsets = [];
  for (let offset = size; offset < Math.min(total, most); offset += size) offsets.push(offset);
  const others = await Promise.all(offsets.map((offset) => get(path, { ...parameters, limit: size, offset })));
  return { rows: rows.concat(...others.map((page) => page[key])), total };
}

const segment = encodeURIComponent;
const runPath = (dag, run) => `dags/${segment(dag)}/dagRuns/${segment(run)}`;

/** Return the asset events of segments and journeys, the newest first, and how many there are. */
async function cijEvents(parameters) {
  const found = await getAll(
    "assets/events",
    "asset_events",
    // Before Airflow 3.3 the prefix is not known, and events of other assets come as well.
    { ...parameters, name_prefix_pattern: "cij://", order_by: "-timestamp" },
    MOST_EVENTS,
  );
  // What is emitted between two pages moves the others on: an event may come twice.
  const events = [...new Map(found.rows.map((event) => [event.id, event])).values()];
  return { events: events.filter((event) => (event.uri ?? "").startsWith("cij://")), total: found.total };
}

/** Return the events since a moment. */
export const eventsSince = (since) => cijEvents({ timestamp_gte: since.toISOString() });

/** Return the events of a DAG run. */
export const eventsOfRun = (dag, run) => cijEvents({ source_dag_id: dag, source_run_id: run });

const isCij = (task) => (task.operator_name ?? task.operator ?? "").startsWith("Cij");

/** Return the tasks of this package that failed since a moment, or have not ended, those of the newest run first. */
export async function openTasksSince(since) {
  const { rows } = await getAll(
    "dags/~/dagRuns/~/taskInstances",
    "task_instances",
    {
      state: [...NOT_ENDED, "failed"],
      operator_name_prefix_pattern: "Cij",
      run_after_gte: since.toISOString(),
      order_by: "-run_after",
    },
    MOST_TASKS,
  );
  return rows.filter(isCij);
}

/** Return the tasks of this package in a DAG run. */
export async function tasksOfRun(dag, run) {
  const { rows } = await getAll(`${runPath(dag, run)}/taskInstances`, "task_instances", {}, MOST_TASKS);
  return rows.filter(isCij);
}

/** Return when the newest run was due in which a task succeeded; null when there is none. */
export async function lastSuccess(dag, task) {
  const { task_instances: found } = await get(`dags/${segment(dag)}/dagRuns/~/taskInstances`, {
    task_id: task,
    state: "success",
    order_by: "-run_after",
    limit: 1,
  });
  return found.length && found[0].task_id === task ? found[0].run_after : null;
}

/**
 * Return what tasks have pushed as `cij_error` or `cij_waiting_for`, by task.
 *
 * A list of XComs holds no values. So the lists say which tasks have pushed one, and only those values are read.
 */
export async function notesOf(tasks) {
  const wanted = new Map(tasks.map((task) => [`${noteKey(task)}`, task]));
  const runs = new Map(tasks.map((task) => [runPath(task.dag_id, task.dag_run_id), task]));
  const listed = await Promise.all(
    [...runs.keys()].flatMap((path) =>
      ["cij_error", "cij_waiting_for"].map((xcom_key) =>
        getAll(`${path}/taskInstances/~/xcomEntries`, "xcom_entries", { xcom_key }, MOST_TASKS),
      ),
    ),
  );
  const notes = new Map();
  await Promise.all(
    listed.flatMap(({ rows }) => rows).map(async (entry) => {
      const key = noteKey({ ...entry, dag_run_id: entry.run_id });
      const task = wanted.get(key);
      const ended = ["failed", "up_for_retry"].includes(task?.state);
      if (!task || ended !== (entry.key === "cij_error")) return;
      const path = `${runPath(entry.dag_id, entry.run_id)}/taskInstances/${segment(entry.task_id)}/xcomEntries/${entry.key}`;
      const { value } = await get(path, { map_index: entry.map_index, deserialize: true });
      // A backend that stores references shows the reference.
      if (value && typeof value === "object") notes.set(key, value);
    }),
  );
  return notes;
}

/** Return what tells a task instance from others. */
export const noteKey = (task) => [task.dag_id, task.dag_run_id, task.task_id, task.map_index].join("\n");

/** Return the tags of each DAG that the user may see. */
export async function tagsOfDags() {
  const { rows } = await getAll("dags", "dags", {}, MOST_TASKS);
  return new Map(rows.map((dag) => [dag.dag_id, dag.tags.map((tag) => tag.name)]));
}
