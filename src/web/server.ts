/** The server of the page: who asks is judged first, then one function answers each path. */
import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Failure } from "../base/errors.ts";
import { packageRoot } from "../base/package.ts";
import { answer, beginEvents, goTo, readForm } from "./answers.ts";
import type { Guard } from "./guard.ts";
import { readableLog } from "./html.ts";
import {
  cablesPage,
  changingCells,
  detailsPage,
  enteredPage,
  type Frame,
  failurePage,
  keyOf,
  type LogPart,
  listPage,
  shellPage,
} from "./pages.ts";
import type { Deeds, House, Shell } from "./sight.ts";
import { sayFailure, Works } from "./works.ts";

/** Milliseconds between two looks at all containers, and at what a shell has written. */
const LOOK = 2000;
const SHELL_LOOK = 100;
/** Bytes of a log that a page begins with. */
const LOG_SHOWN = 128 * 1024;
/** More than a few browsers need. */
const CONNECTIONS = 100;

const ICON =
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="4" fill="#2f7d6b"/></svg>';

interface Asked {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly url: URL;
  /** What the path names: a container or a pid. */
  readonly id: string;
}

type Answer = (asked: Asked) => Promise<void> | void;

export class Page {
  readonly #house: House;
  /** Undefined where nothing may be done. */
  readonly #deeds: Deeds | undefined;
  readonly #signal: AbortSignal;
  readonly #works = new Works();
  readonly #shells = new Map<string, Shell>();

  constructor(house: House, deeds: Deeds | undefined, signal: AbortSignal) {
    this.#house = house;
    this.#deeds = deeds;
    this.#signal = signal;
  }

  /** Answers what `guard` lets in. It does not listen yet. */
  serve(guard: () => Guard): Server {
    const server = createServer((request, response) => {
      this.#answer(guard(), request, response).catch((error: unknown) => this.#fail(response, error));
    });
    server.maxConnections = CONNECTIONS;
    return server;
  }

  /** Ends all shells. Never rejects. */
  async end(): Promise<void> {
    await Promise.all([...this.#shells.values()].map((shell) => shell.end()));
  }

  async #answer(guard: Guard, request: IncomingMessage, response: ServerResponse): Promise<void> {
    // The host is not ours to trust: only path and query are read of it.
    const url = new URL(`http://local${request.url?.startsWith("/") ? request.url : "/"}`);
    const verdict = guard.judge(request, url);
    if (verdict.kind === "refused") return answer(response, "text", `${verdict.why}\n`, 403);
    if (verdict.kind === "enter") return answer(response, "html", enteredPage(), 200, { "Set-Cookie": verdict.cookie });
    const [, , id = "", ...rest] = url.pathname.split("/");
    const inside = url.pathname.startsWith("/c/");
    const path = inside ? ["/c", ...rest].join("/") : url.pathname;
    const found = (request.method === "POST" ? this.#changes() : this.#shows)[path];
    if (found === undefined || !["GET", "HEAD", "POST"].includes(request.method ?? ""))
      throw new Failure("E_NOT_FOUND", "there is no such page", {});
    await found({ request, response, url, id: inside ? decode(id) : "" });
  }

  #fail(response: ServerResponse, error: unknown): void {
    if (response.headersSent) return void response.destroy();
    const failure = error instanceof Failure ? error : undefined;
    const status =
      failure === undefined ? 500 : failure.code === "E_NOT_FOUND" ? 404 : failure.code === "E_DENIED" ? 403 : 409;
    answer(response, "html", failurePage(failure?.what ?? sayFailure(error), failure?.mend, this.#frame([])), status);
  }

  #frame(notices: readonly string[] = this.#works.take()): Frame {
    return { actions: this.#deeds !== undefined, notices };
  }

  readonly #shows: Readonly<Record<string, Answer>> = {
    "/": async ({ response }) => answer(response, "html", listPage(await this.#house.list(), this.#frame())),
    "/page.css": ({ response }) => answer(response, "css", shared("page.css")),
    "/page.js": ({ response }) => answer(response, "js", shared("page.js")),
    // Browsers ask for one.
    "/favicon.ico": ({ response }) => answer(response, "svg", ICON),
    "/events": ({ response }) => this.#sendTable(response),
    "/cables": async ({ response }) => answer(response, "html", cablesPage(await this.#house.cables(), this.#frame())),
    "/cables.svg": async ({ response }) => answer(response, "svg", (await this.#house.cables()).picture),
    "/c": async ({ response, id }) => {
      const details = await this.#house.details(id);
      answer(response, "html", detailsPage(id, details, await this.#logOf(id), this.#frame()));
    },
    "/c/log": (asked) => this.#sendLog(asked),
    "/c/timeline.svg": async ({ response, id }) => {
      const { timeline } = await this.#house.details(id);
      if (timeline === undefined) throw new Failure("E_NOT_FOUND", "there is no timeline", {});
      answer(response, "svg", timeline);
    },
    "/c/shell": ({ response, id }) => answer(response, "html", shellPage(id, this.#shellOf(id), this.#frame())),
    "/c/shell/output": (asked) => this.#sendShell(asked),
  };

  #changes(): Readonly<Record<string, Answer>> {
    const deeds = this.#deeds;
    if (deeds === undefined)
      throw new Failure("E_DENIED", "this page only shows", { mend: "start `rootling web --allow-actions`" });
    return {
      "/c/start": async ({ request, response, id }) => {
        const writable = (await readForm(request)).get("writable") === "yes";
        await this.#works.begin(`starting ${id}`, () => deeds.start(id, writable));
        goTo(response, `/c/${encodeURIComponent(id)}`);
      },
      "/c/stop": async ({ response, id }) => {
        await this.#works.begin(`stopping ${id}`, () => deeds.stop(id));
        goTo(response, "/");
      },
      "/c/shell": async ({ response, id }) => {
        if (this.#shells.get(id)?.over !== false) this.#shells.set(id, await deeds.shell(id));
        goTo(response, `/c/${encodeURIComponent(id)}/shell`);
      },
      "/c/shell/line": async ({ request, response, id }) => {
        const shell = this.#shellOf(id);
        shell.write((await readForm(request)).get("line") ?? "");
        // What is done quickly is seen at once, also without JavaScript.
        await sleep(2 * SHELL_LOOK);
        goTo(response, `/c/${encodeURIComponent(id)}/shell`);
      },
      "/c/shell/end": async ({ response, id }) => {
        await this.#shellOf(id).end();
        goTo(response, `/c/${encodeURIComponent(id)}/shell`);
      },
    };
  }

  #shellOf(id: string): Shell {
    const shell = this.#shells.get(id);
    if (shell !== undefined) return shell;
    throw new Failure("E_NOT_FOUND", "no shell was begun there", { mend: "begin one by the button" });
  }

  /** The end of a log; undefined where there is none. */
  async #logOf(id: string): Promise<LogPart | undefined> {
    let [text, next] = ["", 0];
    try {
      await this.#house.log(id, -LOG_SHOWN, false, this.#signal, async (more, after) => {
        text = (text + more).slice(-LOG_SHOWN);
        next = after;
      });
      return { text, next };
    } catch (error) {
      if (error instanceof Failure && error.code === "E_NOT_FOUND") return undefined;
      throw error;
    }
  }

  /** Where a browser that has lost us goes on. */
  #begins({ request, url }: Asked): number {
    const from = String(request.headers["last-event-id"] ?? url.searchParams.get("from"));
    return /^[0-9]{1,15}$/.test(from) ? Number(from) : 0;
  }

  async #sendLog(asked: Asked): Promise<void> {
    const events = beginEvents(asked.response, this.#signal);
    await this.#house.log(asked.id, this.#begins(asked), true, events.signal, (text, next) =>
      events.send({ text: readableLog(text) }, next),
    );
    events.finish();
  }

  async #sendShell(asked: Asked): Promise<void> {
    const shell = this.#shellOf(asked.id);
    const events = beginEvents(asked.response, this.#signal);
    for (let at = this.#begins(asked); !events.signal.aborted; ) {
      const { over, said, from } = shell;
      const text = said.slice(Math.max(0, at - from));
      at = from + said.length;
      if (text !== "") await events.send({ text: readableLog(text) }, at);
      if (over) return events.finish();
      await sleep(SHELL_LOOK, undefined, { signal: events.signal }).catch(() => {});
    }
  }

  async #sendTable(response: ServerResponse): Promise<void> {
    const events = beginEvents(response, this.#signal);
    while (!events.signal.aborted) {
      await sleep(LOOK, undefined, { signal: events.signal }).catch(() => {});
      if (events.signal.aborted) return;
      const rows = await this.#house.list();
      await events.send({ rows: rows.map((row) => ({ key: keyOf(row), cells: changingCells(row) })) });
    }
  }
}

const shared = (name: string): string => readFileSync(join(packageRoot(), "share/web", name), "utf8");

/** Throws E_NOT_FOUND for what is no name at all. */
function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new Failure("E_NOT_FOUND", "there is no such page", {});
  }
}
