/** What the page shows and does: the commands give it, so that this room knows nothing of stores and kernels. */

/** What a container's processes take. */
export interface Usage {
  readonly processes: number;
  /** Bytes; what processes share is counted once where the kernel says so. */
  readonly memory: number;
  /** Of all processors, in seconds. */
  readonly cpuSeconds: number;
  /** Of one processor, since the last look; undefined at the first. */
  readonly cpuShare: number | undefined;
}

/** A row of the table: a container that rests, or one start of something. */
export interface Seen {
  /** By which it is asked for: the container's name, or the pid of what runs without one. */
  readonly id: string;
  readonly kind: "container" | "subhost" | "sandbox";
  readonly state: "running" | "exited" | "stopped";
  /** Of the last detached start, once that has ended. */
  readonly status: number | null;
  readonly pid: number | null;
  /** ISO 8601 time. */
  readonly started: string | null;
  readonly image: string;
  readonly command: readonly string[];
  readonly usage?: Usage;
}

export interface Details {
  readonly rows: readonly Seen[];
  /** Of a subhost: what became of its services, a line each. */
  readonly services: readonly string[];
  /** The timeline of the last start that was asked for here, as SVG. */
  readonly timeline?: string;
}

export interface Cables {
  /** The map as SVG. */
  readonly picture: string;
  /** The same as a table: a heading, then a row a cable. */
  readonly rows: readonly (readonly string[])[];
}

/** A piece of a text that grows: `next` is where the piece after it begins. */
export type Sink = (text: string, next: number) => Promise<void>;

/** A shell inside, without a terminal: lines in, text out. */
export interface Shell {
  /** What it has written, from the oldest that is kept on. */
  readonly said: string;
  /** Where `said` begins, in characters since the shell began. */
  readonly from: number;
  readonly over: boolean;
  write(line: string): void;
  /** Ends it, with what it has started and that did not leave its group. Never rejects. */
  end(): Promise<void>;
}

/** Each throws E_NOT_FOUND for what is not there. */
export interface House {
  list(): Promise<readonly Seen[]>;
  details(id: string): Promise<Details>;
  /** Gives a log from byte `from` on, negative: that far from its end; with `follow` until its run ends. */
  log(id: string, from: number, follow: boolean, signal: AbortSignal, sink: Sink): Promise<void>;
  cables(): Promise<Cables>;
}

/** What is only done with --allow-actions. */
export interface Deeds {
  /** Resolves once it runs. */
  start(id: string, writable: boolean): Promise<void>;
  /** Resolves once it has ended. */
  stop(id: string): Promise<void>;
  shell(id: string): Promise<Shell>;
}
