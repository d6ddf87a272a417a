/** The CIJ page in Airflow's navigation. Airflow loads this module, and takes the component from the global. */

import { useHistory } from "./data.js";
import { Field, h, Message, reason, settled, useEffect, useMemo, useRef, useSearchParams, useState } from "./element.js";
import { count, moment } from "./format.js";
import { journeys, segments } from "./history.js";
import { Journeys, Waiting } from "./others.js";
import { Segments } from "./segments.js";
import { choices, readState, writeState } from "./table.js";

const WEEKS = ["4", "12", "26", "52"];

function Page() {
  const [state, onState] = useAddress();
  const weeks = WEEKS.includes(state.weeks) ? state.weeks : "12";
  const history = useHistory(Number(weeks));
  const { events, tasks, tags, now } = history;
  const rows = useMemo(() => (events ? segments(events, tasks, tags, now) : []), [events, tasks, tags, now]);
  const found = useMemo(() => (events ? journeys(events, tasks, tags, now) : []), [events, tasks, tags, now]);
  const names = useMemo(() => new Map([...rows, ...found].map((row) => [row.id, row.name])), [rows, found]);
  const connections = useMemo(() => choices(rows, "connection"), [rows]);
  const waiting = tasks.filter((task) => task.waiting).length;
  const tabs = [
    ["segments", "Segments", events && rows.length, () => h(Segments, { rows, state: { ...state, weeks }, onState, now, connections })],
    ["waiting", "Waiting now", events && waiting, () => h(Waiting, { tasks, names, now })],
    ["journeys", "Journeys", events && found.length, () => h(Journeys, { rows: found, names, now })],
  ];
  const [, , , show] = tabs.find(([id]) => id === state.tab) ?? tabs[0];
  return h(
    "main",
    { className: "cij-page", "aria-busy": history.loading },
    h(
      "header",
      { className: "cij-header" },
      h("h1", null, "Customer Insights - Journeys"),
      h(Field, { label: "Weeks" }, h("select", { value: weeks, onChange: (event) => onState({ weeks: event.target.value }) }, WEEKS.map((value) => h("option", { key: value, value }, value)))),
      h("button", { type: "button", className: "cij-button", disabled: history.loading, onClick: history.reload }, history.loading ? "Loading…" : "Reload"),
      h("span", { className: "cij-muted", role: "status" }, events ? `As of ${moment(now)}` : ""),
    ),
    h(Tabs, { tabs, chosen: state.tab, onChoose: (tab) => onState({ tab }) }),
    history.error ? h(Message, { title: "This could not be read", kind: "error" }, h("p", null, reason(history.error))) : null,
    events && history.cut
      ? h("p", { className: "cij-note" }, `There are more events than this page reads: the newest ${count(events.length)} are shown. Choose fewer weeks to see all of them.`)
      : null,
    h("div", { role: "tabpanel", id: "cij-panel", "aria-labelledby": `cij-tab-${state.tab}`, className: "cij-panel" }, events ? show() : history.error ? null : h(Loading)),
  );
}

/** Keep a state in the address. The address follows late: a field that waited for it would lose what is typed. */
function useAddress() {
  const [parameters, setParameters] = useSearchParams();
  const [state, setState] = useState(() => readState(parameters));
  const written = useRef(null);
  useEffect(() => {
    if (written.current === null) setState(readState(parameters));
    else if (written.current === parameters.toString()) written.current = null;
  }, [parameters]);
  const change = (part) => {
    const next = { ...state, ...part };
    const address = writeState(next, parameters);
    if (address.toString() !== parameters.toString()) written.current = address.toString();
    setState(next);
    setParameters(address, { replace: true });
  };
  return [state, change];
}

const Loading = () => h("div", { className: "cij-loading", role: "status" }, "Loading segments…");

function Tabs({ tabs, chosen, onChoose }) {
  const move = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const place = (tabs.findIndex(([id]) => id === chosen) + step + tabs.length) % tabs.length;
    onChoose(tabs[place][0]);
    event.currentTarget.children[place].focus();
  };
  return h(
    "div",
    { role: "tablist", "aria-label": "Views", className: "cij-tabs", onKeyDown: move },
    tabs.map(([id, label, size]) =>
      h(
        "button",
        { key: id, id: `cij-tab-${id}`, type: "button", role: "tab", "aria-selected": id === chosen, "aria-controls": "cij-panel", tabIndex: id === chosen ? 0 : -1, onClick: () => onChoose(id) },
        `${label} `,
        size == null ? null : h("span", { className: "cij-badge" }, count(size)),
      ),
    ),
  );
}

globalThis["CIJ"] = settled(Page);
