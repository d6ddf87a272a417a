/**
 * Airflow's REST API, read with the session of the user who looks at the page: Airflow's permissions apply.
 *
 * Addresses are relative to the document's base, so a base path is kept. Only the paths in this file are read.
 */

const PAGE = 100;
const MOST_EVENTS = 10_000;
const MOST_TASKS = 1_000;
const MOST_ASSETS = 5_000;
const MOST_FAILURES = 400;
const NAMES_A_REQUEST = 40;
const PREFIX = "cij://";
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

/**
 * Return a page as `{rows, total}`. Airflow (up to 3.3) fails on an event that a DAG run is about which has not begun:
 * then the page is read in halves, and that event is left out until the run has begun.
 */
async function getPage(path, key, parameters, limit, offset, failures) {
  try {
    const page = await get(path, { ...parameters, limit, offset });
    return { rows: page[key], total: page.total_entries };
  } catch (error) {
    if (error.status !== 500 || failures.left-- <= 0) throw error;
    // How many there are is not told: look for at least one more.
    if (limit === 1) return { rows: [], total: offset + 2 };
  }
  const half = limit >> 1;
  const first = await getPage(path, key, parameters, half, offset, failures);
  const second = await getPage(path, key, parameters, limit - half, offset + half, failures);
  return { rows: first.rows.concat(second.rows), total: Math.max(first.total, second.total) };
}

/** Return the rows of all pages, the first one alone and then the others side by side, and how many there are. */
async function getAll(path, key, parameters, most) {
  const failures = { left: MOST_FAILURES };
  const { rows, total } = await getPage(path, key, parameters, PAGE, 0, failures);
  const found = { rows, total };
  // A server may allow fewer rows than were asked for.
  const size = rows.length || PAGE;
  for (let next = size; next < Math.min(found.total, most); ) {
    const offsets = [];
    for (; next < Math.min(found.total, most); next += size) offsets.push(next);
    const pages = await Promise.all(offsets.map((offset) => getPage(path, key, parameters, size, offset, failures)));
    found.rows = found.rows.concat(...pages.map((page) => page.rows));
    found.total = Math.max(found.total, ...pages.map((page) => page.total));
  }
  return found;
}

const segment = encodeURIComponent;
const runPath = (dag, run) => `dags/${segment(dag)}/dagRuns/${segment(run)}`;

/** Return whether an event is of a segment or journey: of its asset, or of a watcher, whose asset has any name. */
const isOurs = ({ uri, extra }) => (uri ?? "").startsWith(PREFIX) || extra?.payload?.cij_conn_id != null;

/** Return the asset events of segments and journeys, the newest first, and whether there are older ones. */
async function cijEvents(parameters, names = [PREFIX]) {
  const found = await getAll(
    "assets/events",
    "asset_events",
    // Before Airflow 3.2 the names are not known, and events of other assets come as well.
    { ...parameters, name_prefix_pattern: names.join("|"), order_by: "-timestamp" },
    MOST_EVENTS,
  );
  // What is emitted between two pages moves the others on: an event may come twice.
  const events = [...new Map(found.rows.map((event) => [event.id, event])).values()];
  return { events: events.filter(isOurs), cut: found.total > MOST_EVENTS };
}

/** Return the names of the assets that have a watcher; none before Airflow 3.2, or to a user who may not list assets. */
async function watchedAssets() {
  const { rows } = await getAll("assets", "assets", {}, MOST_ASSETS).catch((error) => {
    if (error.status === 403) return { rows: [] };
    throw error;
  });
  // A name with a bar would be read as two.
  return rows.filter(({ name, watchers }) => watchers?.length && !/^cij:\/\/|[|~]/.test(name)).map(({ name }) => name);
}

/** Return the events of watchers since a moment: of all watched assets, some with each request. */
async function watcherEvents(parameters) {
  const names = await watchedAssets();
  const parts = Array.from({ length: Math.ceil(names.length / NAMES_A_REQUEST) }, (_, part) =>
    cijEvents(parameters, names.slice(part * NAMES_A_REQUEST, (part + 1) * NAMES_A_REQUEST)),
  );
  return Promise.all(parts);
}

/** Return the events since a moment, the newest first, and whether there are older ones. */
export async function eventsSince(since) {
  const parameters = { timestamp_gte: since.toISOString() };
  const [own, watchers] = await Promise.all([cijEvents(parameters), watcherEvents(parameters)]);
  const parts = [own, ...watchers];
  const events = [...new Map(parts.flatMap((part) => part.events).map((event) => [event.id, event])).values()];
  return { events: events.sort((a, b) => Date.parse(b.timestamp) - Date.parse(a.timestamp)), cut: parts.some((part) => part.cut) };
}

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
