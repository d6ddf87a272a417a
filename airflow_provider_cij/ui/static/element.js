/** The host's React, and the small elements that all pages are made of. */

const { React, ReactRouterDOM } = globalThis;

export const h = React.createElement;
export const { useCallback, useEffect, useId, useMemo, useRef, useState } = React;
export const { useSearchParams } = ReactRouterDOM;

// The pages are shown once their styles are there.
await new Promise((shown) => {
  const sheet = document.createElement("link");
  Object.assign(sheet, { rel: "stylesheet", href: new URL("style.css", import.meta.url).href, onload: shown, onerror: shown });
  document.head.append(sheet);
});

/**
 * Return a component that is shown once Airflow has settled on it.
 *
 * Airflow shows what it has loaded as another component from its second render on, which begins it anew: it would lose
 * the keyboard's focus and what was read. So that render is brought about first.
 */
export function settled(Component) {
  let done = false;
  return function Settled(properties) {
    const [, setParameters] = useSearchParams();
    const [ready, setReady] = useState(done);
    useEffect(() => {
      if (done) return undefined;
      done = true;
      setParameters((now) => now, { replace: true });
      const timer = setTimeout(() => setReady(true), 200);
      return () => clearTimeout(timer);
    }, []);
    return ready ? h(Component, properties) : null;
  };
}

/** Return the address of a task instance's page in Airflow, where its log is. */
export function taskPath({ dag, run, task, mapIndex }) {
  const parts = ["dags", dag, "runs", run, "tasks", task].concat(mapIndex >= 0 ? ["mapped", mapIndex] : []);
  return `/${parts.map(encodeURIComponent).join("/")}`;
}

/** A link to another page of Airflow. */
export const Inside = ({ to, children, ...others }) =>
  h(ReactRouterDOM.Link, { className: "cij-link", to, ...others }, children);

/** A link to Dynamics 365, in a tab of its own; plain text where there is no address. */
export function Outside({ href, children }) {
  if (!href) return h("span", null, children);
  const title = "Open in Dynamics 365";
  return h("a", { className: "cij-link", href, title, target: "_blank", rel: "noopener noreferrer" }, children, h(NewTab));
}

const NewTab = () =>
  h(
    "svg",
    { className: "cij-new-tab", viewBox: "0 0 12 12", role: "img", "aria-label": "opens Dynamics 365 in a new tab" },
    h("path", { d: "M4.5 2.5h-2v7h7v-2M6.5 2.5h3v3M9.5 2.5l-4 4" }),
  );

/** A value with a smaller one under it. */
export const Two = ({ first, second, title }) =>
  h("span", { className: "cij-two", title }, h("span", null, first), second ? h("small", null, second) : null);

/** The DAG and task that something comes from; of a watcher its asset. */
export const Origin = ({ row: { dag, task, asset } }) =>
  dag
    ? h(Two, { first: h(Inside, { to: `/dags/${encodeURIComponent(dag)}` }, dag), second: task })
    : h(Two, { first: asset, second: "watcher" });

/** The state of a segment, journey or task: a colour, and the word that says the same. */
export const State = ({ kind, children }) => h("span", { className: `cij-state cij-${kind}` }, children);

/** A labelled control. */
export function Field({ label, children }) {
  return h("label", { className: "cij-field" }, h("span", null, label), children);
}

/** A message in the place of a table. */
export const Message = ({ title, children, kind = "info" }) =>
  h("div", { className: `cij-message cij-message-${kind}`, role: kind === "error" ? "alert" : "status" }, h("h2", null, title), children);

/** Say in one sentence why something could not be read, and what to do. */
export function reason(error) {
  if (error.status === 401) return "Your session has ended. Reload the page to log in again.";
  if (error.status === 403) return "You may not read what this page shows: asset events and task instances.";
  return `Airflow could not be read: ${error.message}`;
}

/** A table with names for its columns; `columns` are `{label, text}`, `rows` lists of cells with a `key`. */
export function Table({ caption, columns, children, className = "" }) {
  return h(
    "div",
    { className: `cij-scroll ${className}`, tabIndex: 0, role: "region", "aria-label": caption },
    h(
      "table",
      { className: "cij-table" },
      h("caption", { className: "cij-hidden" }, caption),
      h("thead", null, h("tr", null, columns)),
      h("tbody", null, children),
    ),
  );
}

/** A cell; numbers stand to the right. */
export const Cell = ({ text, children, ...others }) =>
  h("td", { className: text ? undefined : "cij-number", ...others }, children);

/** The header of a column. */
export const Head = ({ text, children, ...others }) =>
  h("th", { scope: "col", className: text ? undefined : "cij-number", ...others }, children);
