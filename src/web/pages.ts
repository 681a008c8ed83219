/** The pages. Pure: from what was seen to HTML. */
import { formatBytes } from "../base/text.ts";
import { type Html, html, logHtml } from "./html.ts";
import type { Cables, Details, Seen, Shell } from "./sight.ts";

/** What all pages show. */
export interface Frame {
  /** Whether anything may be done. */
  readonly actions: boolean;
  /** What is being done, and what went wrong with what was asked for. */
  readonly notices: readonly string[];
}

/** Seconds after which a page without JavaScript is asked for again. */
const AGAIN = 5;

function page(title: string, frame: Frame, content: Html, again = true): string {
  const notices = frame.notices.map((text) => html`<p class="notice" role="status">${text}</p>`);
  return html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>${title} – rootling</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="/page.css"><script src="/page.js" defer></script>
${again && html`<noscript><meta http-equiv="refresh" content="${AGAIN}"></noscript>`}</head>
<body><header><b>rootling</b><nav><a href="/">Containers</a><a href="/cables">Cables</a></nav></header>
<main><h1>${title}</h1>${notices}${content}</main></body></html>
`.text;
}

/** The path of what has this id. */
const pathOf = (id: string, ...more: readonly string[]): string => ["/c", encodeURIComponent(id), ...more].join("/");

const timeOf = (time: string | null): string => time?.slice(0, 19).replace("T", " ") ?? "–";

const percent = (share: number): string => `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`;

/** State, memory, CPU and processes: the cells that change while one looks. */
export function changingCells({ state, status, usage }: Seen): string[] {
  const said = status === null ? state : `${state} (${status})`;
  if (usage === undefined) return [said, "–", "–", "–"];
  const { memory, cpuSeconds, cpuShare, processes } = usage;
  const cpu = cpuShare === undefined ? "" : `${percent(cpuShare)}, `;
  return [said, formatBytes(memory), `${cpu}${cpuSeconds.toFixed(1)} s`, String(processes)];
}

/** Tells a row from all others, also from an earlier start of the same name. */
export const keyOf = ({ id, pid, state }: Seen): string => `${id} ${pid ?? ""} ${state}`;

const HEAD = ["Name", "Kind", "State", "Memory", "CPU", "Processes", "Started (UTC)", "Image", "Command"];

function rowOf(seen: Seen, actions: boolean): Html {
  const { id, kind, state, started, image, command } = seen;
  const changing = changingCells(seen).map((text, i) => html`<td data-cell="${i}">${text}</td>`);
  return html`<tr data-key="${keyOf(seen)}" class="${state}"><td><a href="${pathOf(id)}">${id}</a></td><td>${kind}</td>${changing}<td>${timeOf(started)}</td><td>${image}</td><td><code>${command.join(" ").slice(0, 200) || "–"}</code></td>${actions && html`<td>${buttonsOf(seen)}</td>`}</tr>
`;
}

function buttonsOf({ id, kind, state }: Seen): Html {
  if (state === "running")
    return html`<form method="post" action="${pathOf(id, "stop")}"><button>Stop</button></form><form method="post" action="${pathOf(id, "shell")}"><button>Shell</button></form>`;
  const writable =
    kind === "container" && html`<label><input type="checkbox" name="writable" value="yes"> keep changes</label>`;
  return html`<form method="post" action="${pathOf(id, "start")}"><button>Start</button>${writable}</form>`;
}

const tableOf = (rows: readonly Seen[], actions: boolean): Html =>
  html`<div class="wide"><table data-events="/events"><thead><tr>${[...HEAD, ...(actions ? ["Actions"] : [])].map((name) => html`<th>${name}</th>`)}</tr></thead><tbody>
${rows.map((row) => rowOf(row, actions))}</tbody></table></div>`;

export function listPage(rows: readonly Seen[], frame: Frame): string {
  const content =
    rows.length === 0
      ? html`<p data-events="/events">There are no containers, and nothing runs.</p>`
      : tableOf(rows, frame.actions);
  return page("Containers", frame, content);
}

/** A log as it is known, and from where on the rest is to be followed; undefined where nothing was written. */
export interface LogPart {
  readonly text: string;
  readonly next: number;
}

export function detailsPage(
  id: string,
  { rows, services, timeline }: Details,
  log: LogPart | undefined,
  frame: Frame,
): string {
  const subhost = rows.some(({ kind }) => kind === "subhost");
  return page(
    id,
    frame,
    html`${tableOf(rows, frame.actions)}
${subhost && html`<h2>Services</h2>${services.length === 0 ? html`<p>None were started.</p>` : html`<ul>${services.map((line) => html`<li>${line}</li>`)}</ul>`}`}
<h2>Log</h2>${log === undefined ? html`<p>There is none: only what is started detached writes one.</p>` : html`<pre tabindex="0" class="log" data-follow="${pathOf(id, "log")}?from=${log.next}">${logHtml(log.text)}</pre>`}
<h2>Timeline of the last start from here</h2>${timeline === undefined ? html`<p>There is none: what this page starts gets one.</p>` : html`<a href="${pathOf(id, "timeline.svg")}"><img src="${pathOf(id, "timeline.svg")}" alt="where the time of the start went"></a>`}`,
  );
}

export function cablesPage({ rows: [head = [], ...rows] }: Cables, frame: Frame): string {
  return page(
    "Cables",
    frame,
    html`<a href="/cables.svg"><img src="/cables.svg" alt="the cables of all containers, and what they hang on"></a>
<div class="wide"><table><thead><tr>${head.map((name) => html`<th>${name}</th>`)}</tr></thead><tbody>${rows.map((cells) => html`<tr>${cells.map((text) => html`<td>${text}</td>`)}</tr>`)}</tbody></table></div>`,
  );
}

/** A shell: without JavaScript what it has written shows when the page is asked for again. */
export function shellPage(id: string, { said, from, over }: Shell, frame: Frame): string {
  const path = pathOf(id, "shell");
  return page(
    `Shell in ${id}`,
    frame,
    html`<pre tabindex="0" class="log" data-follow="${path}/output?from=${from + said.length}">${logHtml(said)}</pre>
${
  over
    ? html`<p>It has ended.</p>`
    : html`<form method="post" action="${path}/line" class="line" data-line><label for="line">$</label><input id="line" name="line" autofocus autocomplete="off" spellcheck="false"><button>Run</button></form>
<form method="post" action="${path}/end"><button>End the shell</button></form>`
}
<p><a href="${path}">Look again</a> · <a href="${pathOf(id)}">${id}</a></p>
<p>Lines go to <code>sh</code>, without a terminal: for one, use <code>rootling exec --tty ${id} sh</code>.</p>`,
    false,
  );
}

/** After the exchange: what follows is asked for by our own page, so that the cookie goes with it. */
export const enteredPage = (): string =>
  html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>rootling</title><meta http-equiv="refresh" content="0;url=/"></head>
<body><p><a href="/">Go on</a></p></body></html>
`.text;

export const failurePage = (what: string, mend: string | undefined, frame: Frame): string =>
  page(
    "That did not work",
    frame,
    html`<p class="notice">${what}</p>${mend !== undefined && html`<p>${mend}</p>`}`,
    false,
  );
