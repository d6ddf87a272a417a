/** Load what the pages show, and load what is new while something is under way. */

import { eventsSince, lastSuccess, noteKey, notesOf, openTasksSince, tagsOfDags } from "./api.js";
import { useCallback, useEffect, useRef, useState } from "./element.js";
import { DAY } from "./format.js";
import { current, readEvents, readTask } from "./history.js";

const WATCHING = 15_000;

/** Return when each task with a failure succeeded last. */
async function lastSuccesses(tasks) {
  const failed = new Map(
    tasks.filter((task) => task.state === "failed").map((task) => [`${task.dag_id}\n${task.task_id}`, task]),
  );
  const found = await Promise.all(
    [...failed].map(async ([key, task]) => [key, Date.parse(await lastSuccess(task.dag_id, task.task_id))]),
  );
  return new Map(found.filter(([, moment]) => Number.isFinite(moment)));
}

const keyOf = (task) => [task.dag, task.run, task.task, task.mapIndex].join("\n");

/** Read the tasks that matter, and those of them that may have noted why they failed or what they wait for. */
async function loadTasks(since) {
  const found = await openTasksSince(since);
  const successes = await lastSuccesses(found);
  const tasks = current(found.map((task) => readTask(task)), successes);
  const wanted = new Set(tasks.map(keyOf));
  return { tasks, noting: found.filter((task) => wanted.has(noteKey(task))) };
}

const withNotes = (tasks, notes) => tasks.map((task) => ({ ...task, note: notes.get(keyOf(task)) ?? null }));

/** Read everything of the last weeks: `{events, tasks, tags, cut, now, error, loading, reload}`. */
export function useHistory(weeks) {
  const [data, setData] = useState({ events: null, tasks: [], tags: new Map(), cut: false, loading: true });
  const found = useRef(null);

  const load = useCallback(async () => {
    // Newer events are added to those that are there.
    const known = found.current?.weeks === weeks ? found.current : { weeks, byId: new Map(), newest: null, cut: false, notes: new Map() };
    found.current = known;
    const add = (part) => found.current === known && setData((before) => ({ ...before, ...part }));
    const since = new Date(Date.now() - weeks * 7 * DAY);
    add({ loading: true, error: null });
    try {
      const [{ events, cut }, tags, { tasks, noting }] = await Promise.all([
        eventsSince(known.newest ?? since),
        tagsOfDags(),
        loadTasks(since),
      ]);
      for (const event of events) known.byId.set(event.id, event);
      if (events.length) known.newest = new Date(events[0].timestamp);
      known.cut ||= cut;
      const all = readEvents([...known.byId.values()]);
      add({ events: all, tasks: withNotes(tasks, known.notes), tags, cut: known.cut, now: Date.now() });
      known.notes = await notesOf(noting);
      add({ tasks: withNotes(tasks, known.notes), loading: false });
    } catch (error) {
      add({ error, loading: false });
    }
  }, [weeks]);

  useEffect(() => void load(), [load]);
  useWatching(data.tasks.some((task) => task.active), load);
  return { ...data, reload: load };
}

/** Call a function again and again while something is under way and the page is looked at. */
export function useWatching(active, load) {
  useEffect(() => {
    if (!active) return undefined;
    const timer = setInterval(() => document.hidden || load(), WATCHING);
    return () => clearInterval(timer);
  }, [active, load]);
}
