// What makes the page follow: without it, the page is asked for again. It writes text only, never markup.

/** The characters of a log that stay on the page. */
const KEPT = 1 << 20;

for (const table of document.querySelectorAll("[data-events]")) {
  const source = new EventSource(table.dataset.events);
  source.onmessage = ({ data }) => {
    const shown = new Map([...table.querySelectorAll("[data-key]")].map((row) => [row.dataset.key, row]));
    const all = JSON.parse(data).rows;
    const whole = location.pathname === "/";
    const rows = whole ? all : all.filter(({ key }) => shown.has(key));
    // What has begun or ended has other buttons: the server draws it.
    if (rows.length !== shown.size || rows.some(({ key }) => !shown.has(key))) return void location.reload();
    for (const { key, cells } of rows) {
      for (const cell of shown.get(key).querySelectorAll("[data-cell]"))
        cell.textContent = cells[Number(cell.dataset.cell)];
    }
  };
}

for (const log of document.querySelectorAll("[data-follow]")) {
  log.scrollTop = log.scrollHeight;
  const source = new EventSource(log.dataset.follow);
  source.onmessage = ({ data }) => {
    // Who has scrolled up reads there.
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    log.append(JSON.parse(data).text);
    if (log.textContent.length > KEPT) log.textContent = log.textContent.slice(-KEPT / 2);
    if (atEnd) log.scrollTop = log.scrollHeight;
  };
  source.addEventListener("finish", () => source.close());
}

for (const form of document.querySelectorAll("[data-line]")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const body = new URLSearchParams(new FormData(form));
    form.reset();
    fetch(form.action, { method: "POST", body, redirect: "manual" });
  });
}
