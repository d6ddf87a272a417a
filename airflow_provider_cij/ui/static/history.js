/** What asset events and tasks say of segments and journeys: one record for each. Pure functions. */

import { DAY } from "./format.js";

const URI = /^cij:\/\/([\w.-]+)\/(segments|journeys)\/([0-9a-f-]{36})$/;
const GUID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/gi;
const ACTIVE = new Set(["running", "deferred", "up_for_reschedule"]);
const FAILED = new Set(["failed", "up_for_retry"]);
const WAITING = new Set(["deferred", "up_for_reschedule"]);
const LIVE = new Set(["live", "live_with_warnings"]);
const EVALUATING = new Set(["computing", "exporting", "publishing"]);
const BROKEN = new Map([
  ["error", "The segment is in status Error."],
  ["faulted", "The segment is in status Faulted."],
  ["expired", "The segment has expired: refresh it."],
  ["failed", "The last evaluation failed."],
]);
const SHOWN = 12;
/** A segment is stale when it was not evaluated for twice as long as usual; this is usual after one evaluation. */
const USUAL = 7 * DAY;
/** A weekly run may come a little early. */
const ABOUT_A_WEEK = 6.5 * DAY;

const time = (text) => (text ? Date.parse(text) : null);
const last = (list) => list[list.length - 1];
const number = (value) => (typeof value === "number" && Number.isFinite(value) ? value : null);

/** Return which segment or journey an event is of: its asset says it, or the watcher that emitted it. */
function subjectOf({ uri, extra }) {
  const found = URI.exec(uri ?? "");
  if (found) return { connection: found[1], kind: found[2], id: found[3], extra: extra ?? {} };
  const said = extra?.payload;
  if (typeof said?.cij_conn_id !== "string") return null;
  const [kind, id] = said.segment_id ? ["segments", said.segment_id] : ["journeys", said.journey_id];
  return URI.test(`cij://${said.cij_conn_id}/${kind}/${id}`) ? { connection: said.cij_conn_id, kind, id, extra: said } : null;
}

/** Return events as plain records, the oldest first; those of other assets are left out. */
export function readEvents(events) {
  return events
    .flatMap((event) => {
      const subject = subjectOf(event);
      if (!subject) return [];
      return [
        {
          ...subject,
          key: `${subject.connection}/${subject.id}`,
          dag: event.source_dag_id ?? "",
          task: event.source_task_id ?? "",
          run: event.source_run_id ?? "",
          mapIndex: event.source_map_index ?? -1,
          asset: event.name ?? "",
          at: time(event.timestamp),
        },
      ];
    })
    .sort((a, b) => a.at - b.at);
}

/** Return a task instance as a plain record, with the segments or journeys that its arguments name. */
export function readTask(task, note) {
  const given = task.rendered_fields ?? {};
  const named = [given.segment_id, given.segment_ids, given.journey_id].filter(Boolean);
  const ids = (JSON.stringify(named).match(GUID) ?? []).map((id) => id.toLowerCase());
  return {
    dag: task.dag_id,
    task: task.task_id,
    run: task.dag_run_id,
    mapIndex: task.map_index,
    tryNumber: task.try_number,
    name: task.rendered_map_index ?? "",
    operator: task.operator_name ?? "",
    state: task.state,
    runAfter: time(task.run_after),
    started: time(task.start_date),
    ended: time(task.end_date),
    duration: task.duration,
    connection: given.cij_conn_id ?? "",
    ids: [...new Set(ids)],
    note: note ?? null,
    active: ACTIVE.has(task.state),
    failed: FAILED.has(task.state),
    waiting: WAITING.has(task.state),
  };
}

/** Return the tasks that still matter: those that have not ended, and those that failed and did not succeed since. */
export function current(tasks, lastSuccess) {
  return tasks.filter((task) => {
    const success = task.state === "failed" ? lastSuccess.get(`${task.dag}\n${task.task}`) : null;
    return success == null || task.runAfter >= success;
  });
}

/** Return a record for each segment or journey: its events, and the tasks that work on it. */
export function group(events, tasks, kind) {
  const records = new Map();
  for (const event of events) {
    if (event.kind !== kind) continue;
    if (!records.has(event.key)) records.set(event.key, { key: event.key, events: [], tasks: [] });
    records.get(event.key).events.push(event);
  }
  for (const task of tasks) {
    const keys = task.ids.map((id) => `${task.connection}/${id}`).filter((key) => records.has(key));
    // Airflow keeps the arguments of a task's newest runs alone: its name is kept.
    if (!task.ids.length && task.name) {
      const named = ({ dag, extra }) => dag === task.dag && extra.name === task.name;
      keys.push(...[...records.values()].filter((record) => record.events.some(named)).map((record) => record.key));
    }
    for (const key of keys) records.get(key).tasks.push(task);
    if (keys.length || kind !== "segments" || !/Segment/.test(task.operator)) continue;
    // A task that has only just begun does not say yet what it works on.
    if (!task.ids.length && !task.failed) continue;
    // A segment whose tasks never succeeded has no event: it is shown all the same.
    const key = task.ids.length ? `${task.connection}/${task.ids[0]}` : `${task.dag}/${task.task}/${task.mapIndex}`;
    if (!records.has(key)) records.set(key, { key, events: [], tasks: [] });
    records.get(key).tasks.push(task);
  }
  return [...records.values()];
}

/** Return the evaluations of a segment as points in time: each once, or what its events say where none names one. */
export function evaluations(events) {
  const counted = events.filter((event) => number(event.extra.member_count) != null);
  const evaluated = counted.filter((event) => event.extra.evaluated_at);
  const points = (evaluated.length ? evaluated : counted).map((event) => ({
    at: time(event.extra.evaluated_at) ?? event.at,
    members: event.extra.member_count,
    change: number(event.extra.change),
    seconds: number(event.extra.duration),
    event,
  }));
  const once = new Map(points.map((point) => [point.at, point]));
  return [...once.values()].sort((a, b) => a.at - b.at);
}

/** Return the median; null of an empty list. */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length ? (sorted[middle] + sorted[sorted.length - 1 - middle]) / 2 : null;
}

/** Return whether a segment was not evaluated for twice as long as usual. */
export function isStale(points, now) {
  if (!points.length) return false;
  const gaps = points.slice(1).map((point, index) => point.at - points[index].at);
  return now - last(points).at > 2 * Math.max(median(gaps) ?? USUAL, DAY);
}

const share = (value, before) => (value == null || !before ? null : value / before);

function changes(points) {
  const newest = last(points);
  const before = points[points.length - 2];
  const change = newest?.change ?? (before ? newest.members - before.members : null);
  const weekAgo = points.filter((point) => point.at <= newest.at - ABOUT_A_WEEK).pop();
  const week = weekAgo ? newest.members - weekAgo.members : null;
  return {
    change,
    changeShare: share(change, newest && change != null ? newest.members - change : null),
    week,
    weekShare: share(week, weekAgo?.members),
  };
}

/** A sensor waits for a segment, and does nothing to it. */
const isAtWork = (task) => task.active && !task.operator.endsWith("Sensor");

function category(status, tasks, points, now) {
  if (tasks.some(isAtWork)) return "refreshing";
  if (tasks.some((task) => task.failed) || BROKEN.has(status)) return "failed";
  if (EVALUATING.has(status)) return "refreshing";
  if (status && !LIVE.has(status)) return "ended";
  return isStale(points, now) ? "stale" : "live";
}

/** Return the newest value that an event of a record has under a name. */
const newest = (events, name) => events.findLast((event) => event.extra[name] != null)?.extra[name] ?? null;

/** Return a link to Dynamics 365; null for an address that is not https. */
export const secure = (link) => (typeof link === "string" && link.startsWith("https://") ? link : null);

/** Return what is known of a record whatever it is: where it comes from, its name, its failure. */
function common({ key, events, tasks }, tags) {
  // A watcher's event has no task.
  const event = events.findLast((one) => one.dag) ?? last(events);
  const newestFirst = [...tasks].sort((a, b) => b.runAfter - a.runAfter);
  const failed = newestFirst.find((one) => one.failed);
  const shown = failed ?? newestFirst.find(isAtWork) ?? event ?? newestFirst[0];
  const dags = [...new Set([shown, ...events, ...tasks].map((one) => one.dag))].filter(Boolean);
  return {
    key,
    events,
    tasks: newestFirst,
    id: event?.id ?? shown.ids[0] ?? "",
    connection: event?.connection ?? shown.connection,
    name: newest(events, "name") || shown.name || shown.task,
    link: secure(newest(events, "link")),
    dag: shown.dag,
    task: shown.task,
    asset: shown.asset ?? "",
    dags,
    tags: [...new Set(dags.flatMap((dag) => tags.get(dag) ?? []))],
    error: failed ? failed.note?.message ?? "Failed. The log says why." : null,
    hint: failed?.note?.hint ?? "",
    log: { dag: shown.dag, run: shown.run, task: shown.task, mapIndex: shown.mapIndex },
  };
}

/** Return what the table shows of each segment. */
export function segments(events, tasks, tags, now) {
  return group(events, tasks, "segments").map((record) => {
    const points = evaluations(record.events);
    const status = newest(record.events, "status") ?? "";
    const list = record.events.findLast((event) => event.extra.read != null)?.extra ?? {};
    const evaluated = record.events.some((event) => event.extra.evaluated_at);
    const use = (LIVE.has(status) && record.events.findLast((event) => event.extra.used_by != null)?.extra) || {};
    const known = common(record, tags);
    return {
      ...known,
      error: known.error ?? BROKEN.get(status) ?? null,
      status,
      category: category(status, record.tasks, points, now),
      points,
      recent: points.slice(-SHOWN),
      members: last(points)?.members ?? null,
      ...changes(points),
      evaluated: evaluated ? last(points).at : null,
      age: evaluated ? now - last(points).at : null,
      seconds: last(points)?.seconds ?? null,
      read: number(list.read),
      added: number(list.added),
      removed: number(list.removed),
      invalid: number(list.invalid),
      notFound: number(list.not_found),
      optedOut: number(list.opted_out),
      usedBy: number(use.used_by),
      expires: use.used_by === 0 ? time(use.expires_at) : null,
    };
  });
}

/** Return what the table shows of each journey. */
export function journeys(events, tasks, tags, now) {
  return group(events, tasks, "journeys").map((record) => ({
    ...common(record, tags),
    status: newest(record.events, "status") ?? "",
    audience: newest(record.events, "audience"),
    people: number(newest(record.events, "member_count")),
    results: newest(record.events, "states"),
    total: number(newest(record.events, "read")),
    at: last(record.events)?.at ?? null,
  }));
}

/** Return how long refreshes took in each of the last weeks, the oldest first: median and longest, in seconds. */
export function secondsByWeek(rows, weeks, now) {
  const found = Array.from({ length: weeks }, () => []);
  for (const point of rows.flatMap((row) => row.points)) {
    const week = weeks - 1 - Math.floor((now - point.at) / (7 * DAY));
    if (point.seconds != null && found[week]) found[week].push(point.seconds);
  }
  return found.map((seconds, week) => ({
    from: now - (weeks - week) * 7 * DAY,
    refreshes: seconds.length,
    median: median(seconds),
    longest: seconds.length ? Math.max(...seconds) : null,
  }));
}
