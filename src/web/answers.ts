/** How we answer: every header that browsers are to keep to, bodies that are read, and events that go on. */
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { Failure } from "../base/errors.ts";

/** Nothing but our own style sheet and script; neither can make markup of text, and nobody may frame us. */
const POLICY = [
  ...["default-src 'none'", "style-src 'self'", "script-src 'self'", "img-src 'self'", "connect-src 'self'"],
  ...["form-action 'self'", "base-uri 'none'", "frame-ancestors 'none'"],
  ...["require-trusted-types-for 'script'", "trusted-types 'none'"],
].join("; ");

/** A picture has a style sheet of its own, and may do nothing. */
const PICTURE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox";

const TYPES = {
  html: "text/html; charset=utf-8",
  css: "text/css; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  svg: "image/svg+xml; charset=utf-8",
  text: "text/plain; charset=utf-8",
  events: "text/event-stream; charset=utf-8",
} as const;

type Kind = keyof typeof TYPES;

const headersOf = (kind: Kind): Record<string, string> => ({
  "Content-Type": TYPES[kind],
  "Content-Security-Policy": kind === "svg" ? PICTURE_POLICY : POLICY,
  "X-Content-Type-Options": "nosniff",
  "X-Frame-Options": "DENY",
  // Not `no-referrer`: forms would name the origin `null`.
  "Referrer-Policy": "same-origin",
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Cache-Control": "no-store",
});

export function answer(
  response: ServerResponse,
  kind: Kind,
  body: string,
  status = 200,
  more: Readonly<Record<string, string>> = {},
): void {
  response.writeHead(status, { ...headersOf(kind), ...more });
  response.end(body);
}

/** Goes on at another page of ours, by GET. */
export const goTo = (response: ServerResponse, path: string): void =>
  answer(response, "text", "", 303, { Location: path });

/** Far more than a line that somebody types. */
const BODY_MAX = 64 * 1024;

/** The fields of a form. Throws E_LIMIT where it is too large. */
export async function readForm(request: IncomingMessage): Promise<URLSearchParams> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > BODY_MAX) throw new Failure("E_LIMIT", "the form is too large", { mend: "send less at once" });
    chunks.push(chunk);
  }
  return new URLSearchParams(Buffer.concat(chunks).toString());
}

/** Server-sent events (HTML, 9.2), until the browser goes or `signal` is aborted. */
export interface Events {
  readonly signal: AbortSignal;
  /** Resolves when there is room for more. `id`: what the browser gives back when it comes again. */
  send(data: unknown, id?: number): Promise<void>;
  /** Nothing comes any more: the browser shall not ask again. */
  finish(): void;
}

export function beginEvents(response: ServerResponse, signal: AbortSignal): Events {
  const gone = new AbortController();
  response.on("close", () => gone.abort());
  response.writeHead(200, headersOf("events"));
  response.flushHeaders();
  const either = AbortSignal.any([gone.signal, signal]);
  return {
    signal: either,
    send: async (data, id) => {
      if (either.aborted) return;
      const text = `${id === undefined ? "" : `id: ${id}\n`}data: ${JSON.stringify(data)}\n\n`;
      if (!response.write(text)) await once(response, "drain", { signal: either }).catch(() => {});
    },
    finish: () => void response.end("event: finish\ndata: \n\n"),
  };
}
