/**
 * The library: root file systems of images, from a program. Nothing here ends the process, writes to its output or
 * handles its signals. What goes wrong is thrown as a `Failure`.
 *
 * @packageDocumentation
 */
import type { Context } from "./base/context.ts";
import { systemFailure } from "./base/errors.ts";
import { packageVersion } from "./base/package.ts";
import { silentProgress } from "./base/progress.ts";
import { loadSettings } from "./base/settings-load.ts";
import { beginWork, type Work } from "./base/work.ts";
import {
  type AlterOptions,
  alterationsOf,
  type BootstrapOptions,
  type BootstrapResult,
  bootstrap as doBootstrap,
} from "./commands/bootstrap.ts";
import { BytesStatus } from "./commands/bytes-status.ts";
import type { AtStore } from "./commands/cli.ts";
import { type CommitSource, commitToStore } from "./commands/commit-image.ts";
import { forgetImage } from "./commands/forget-image.ts";
import {
  type DiskWishes,
  importImage as doImport,
  importToFile as doImportToFile,
  type FileImportOptions,
  formatOf,
  type ImportOptions,
  type LayerChoice,
  layersOf,
  type OutputFormat,
  sourceDigest,
} from "./commands/import-image.ts";
import { type ProgressStatus, Status } from "./commands/progress-status.ts";
import { type PushedImage, pushedOf, withPush } from "./commands/push-image.ts";
import { type Login, registryAccess } from "./commands/registry-access.ts";
import type { Digest, Platform, RunConfig, SourceImage } from "./image/types.ts";
import { listImages as doList, type StoredImage } from "./store/images.ts";
import { layoutOf } from "./store/layout.ts";

export { Failure, type FailureCode, type FailureDetails, failureCodes } from "./base/errors.ts";
export type { Work } from "./base/work.ts";
export type {
  AlterOptions,
  BootstrapFormat,
  BootstrapOptions,
  BootstrapResult,
  IdMapping,
} from "./commands/bootstrap.ts";
export type { CommitSource } from "./commands/commit-image.ts";
export type { DiskWishes, LayerChoice, OutputFormat } from "./commands/import-image.ts";
export type { ProgressStatus } from "./commands/progress-status.ts";
export type { PushedImage } from "./commands/push-image.ts";
export type { AskPassword, Login } from "./commands/registry-access.ts";
export type { Digest, Platform, RunConfig } from "./image/types.ts";

/** What all functions take. */
export interface CommonOptions {
  /** Stops the work: it clears up after itself and throws E_INTERRUPTED. */
  signal?: AbortSignal;
  /**
   * Where settings (`ROOTLING_DATA_PATH` and the like), proxies and credentials are looked up; by default the
   * environment of this process. It is read, never changed.
   */
  env?: Readonly<Record<string, string | undefined>>;
  /**
   * Is told what should be known but stops nothing: one line, without full stop. It may hold names that others chose:
   * escape it before a terminal gets it.
   */
  onWarning?: (message: string) => void;
}

/** What functions take that work for long. */
export interface ProgressOptions {
  /** Is told how far the work is, some ten times a second at most. What it throws is the end of the work. */
  onProgress?: (progress: ProgressStatus) => void;
}

/** How an image is chosen and how registries are spoken to. */
export interface SourceOptions extends Login {
  /** The image for another platform than this machine's. */
  platform?: Platform;
  /** The certificate of the registry is not verified. */
  insecure?: boolean;
  /** No TLS. */
  plainHttp?: boolean;
}

/** What `importImage` takes. */
export interface ImportImageOptions extends SourceOptions, CommonOptions, ProgressOptions {
  /** The name that the image gets; by default after its source. */
  name?: string;
}

/** What `importToFile` takes. */
export interface ImportToFileOptions extends SourceOptions, AlterOptions, CommonOptions, ProgressOptions {
  /** What is written; by default a squashfs file. */
  format?: OutputFormat;
  /** Its compression, such as `zstd:3`. */
  comp?: string;
  /** Of an OCI image: one with the merged tree (`one`, the default), or the layers of the source (`keep`). */
  layers?: LayerChoice;
  /** What a disk is to be like: `qcow2` and `raw`. */
  disk?: DiskWishes;
  /** What has the name gives way. */
  force?: boolean;
}

/** What `pushImage` takes; user, password and the like are those of the destination. */
export interface PushImageOptions extends SourceOptions, CommonOptions, ProgressOptions {
  /** The layers of the image (`keep`, the default), or one with the merged tree. */
  layers?: LayerChoice;
  /** Compresses the layers anew, such as `gzip:9`. */
  comp?: string;
}

/** What `commitImage` takes. */
export interface CommitImageOptions extends CommonOptions, ProgressOptions {
  /** Compression of the new layer; gzip if not given. */
  comp?: string;
  /** Changes of the configuration in the words of a Dockerfile, such as `ENV A=b` or `CMD ["tool"]`. */
  changes?: readonly string[];
  author?: string;
  /** A comment for the image's history. */
  message?: string;
}

/** An image in the store. */
export interface Image {
  /** The names that it has. */
  readonly names: readonly string[];
  /** Digest of its manifest; of a source without one, of what identifies its bytes. */
  readonly digest: Digest;
  readonly platform: Platform;
  /** Bytes of content in the tree. */
  readonly size: number;
  /** When it was imported. */
  readonly created: Date;
  /** The directory of its merged tree. It is shared by all that use the image: nothing may change it. */
  readonly tree: string;
  /** How the image wants to be run. */
  readonly run: RunConfig;
}

/** What is made of an image outside of the store. */
export interface WrittenImage {
  /** The file or directory: absolute. */
  readonly output: string;
  readonly digest: Digest;
  /** Bytes of content. */
  readonly size: number;
}

/** Work that can be waited for, or followed: `for await (const { status, value } of work)`. */
export type ImageWork<Result> = Work<Result, ProgressStatus>;

/** The version of this package. */
export const version: string = packageVersion();

/**
 * Makes the root file system of an image, a tarball or another source in a directory, as virt-bootstrap does.
 *
 * @example
 * await bootstrap({ uri: "docker://fedora", dest: "/srv/fedora" });
 *
 * @example
 * const work = bootstrap({ uri: "docker://ubuntu", dest: "/srv/ubuntu" });
 * for await (const { status, value } of work) console.log(`${status}: ${value.toFixed(1)} %`);
 * const { digest } = await work;
 */
export function bootstrap(options: BootstrapOptions & CommonOptions & ProgressOptions): ImageWork<BootstrapResult> {
  return work(options, async (tell) => {
    const { context, env } = contextOf(options);
    return doBootstrap(context, env, options, tell);
  });
}

/** Imports an image into the store, or finds it there, and gives it a name: by default after its source. */
export function importImage(source: string, options: ImportImageOptions = {}): ImageWork<Image> {
  return work(options, async (tell) => {
    const { context, status, chosen } = importOf(source, options, tell);
    const named: ImportOptions = { ...chosen, ...(options.name === undefined ? {} : { name: options.name }) };
    const stored = await doImport(context, layoutOf(context.settings), source, named);
    status.finished();
    return imageOf(stored);
  });
}

/** Writes an image to a file or directory of its own, past the store. */
export function importToFile(
  source: string,
  output: string,
  options: ImportToFileOptions = {},
): ImageWork<WrittenImage> {
  return work(options, async (tell) => {
    const { resolve } = await import("node:path");
    const { context, status, chosen } = importOf(source, options, tell);
    const { comp, disk, force, layers } = options;
    const format = formatOf(options.format);
    const file: FileImportOptions = {
      ...chosen,
      output: resolve(output),
      format,
      alterations: await alterationsOf(context, options),
      ...(comp === undefined ? {} : { comp }),
      ...(layers === undefined ? {} : { layers: layersOf(layers, format) }),
      ...(disk === undefined ? {} : { disk }),
      ...(force ? { force } : {}),
    };
    const { digest, size } = await doImportToFile(context, layoutOf(context.settings), source, file);
    status.finished();
    return { output: file.output, digest: digest as Digest, size };
  });
}

/**
 * Puts an image, a stored one or any source, into a registry. What the registry has is not sent.
 *
 * @example
 * await pushImage("app:1", "docker://registry.example/team/app:1", { username: "alice", password });
 */
export function pushImage(image: string, destination: string, options: PushImageOptions = {}): ImageWork<PushedImage> {
  return work(options, async (tell) => {
    const { context, env } = contextOf(options);
    const status = new BytesStatus("Looking for what is there", tell);
    const { platform, registry } = sourceOf(options, context, env);
    // It is read without what was said of the registry that it is sent to.
    const wish = {
      layers: options.layers ?? "keep",
      comp: options.comp,
      platform,
      registry: registryAccess({}, {}, context.settings, env),
    };
    const at = atStore({ ...context, progress: status.progress });
    const pushed = await withPush(
      at,
      at.context(),
      image,
      { ...wish, destination, to: registry },
      async (push, digest) => {
        await push.run();
        return pushedOf(push, digest);
      },
    );
    status.finished("Push completed!");
    return pushed;
  });
}

/**
 * Makes a stored image of what a container changed, or of a directory above the stored image `onto`: one layer more.
 *
 * @example
 * await commitImage({ container: "web" }, "team/web:2", { changes: ['CMD ["serve"]'] });
 */
export function commitImage(what: CommitSource, name: string, options: CommitImageOptions = {}): ImageWork<Image> {
  return work(options, async (tell) => {
    const { context, env } = contextOf(options);
    const status = new BytesStatus("Packing the new layer", tell);
    const { comp = "gzip", changes = [], author, message } = options;
    const at = atStore({ ...context, progress: status.progress });
    const wish = {
      source: what,
      comp,
      changes,
      author,
      message,
      registry: registryAccess({}, {}, context.settings, env),
    };
    const { image } = await commitToStore(at, at.context(), name, wish);
    status.finished("Commit completed!");
    return imageOf(image);
  });
}

const atStore = (context: Context): AtStore => ({ layout: layoutOf(context.settings), context: () => context });

/** The digest of the manifest that a source means now. No layer is fetched. */
export async function imageDigest(source: string, options: SourceOptions & CommonOptions = {}): Promise<Digest> {
  const { context, env } = contextOf(options);
  return sourceDigest(context, layoutOf(context.settings), source, sourceOf(options, context, env));
}

/** All images of the store. */
export function listImages(options: Pick<CommonOptions, "env"> = {}): Image[] {
  return doList(layoutOf(contextOf(options).context.settings)).map(imageOf);
}

/**
 * Takes a name from an image of the store; the image itself goes with its last name. Throws E_NOT_FOUND for a name that
 * nothing has, E_BUSY while a container needs it.
 */
export async function removeImage(name: string, options: CommonOptions = {}): Promise<void> {
  const { settings, signal } = contextOf(options).context;
  await forgetImage(layoutOf(settings), name, signal);
}

/** Begins work that reports to the callback and to whoever iterates. */
function work<Result>(
  { onProgress }: ProgressOptions,
  run: (tell: (status: ProgressStatus) => void) => Promise<Result>,
): ImageWork<Result> {
  return beginWork<Result, ProgressStatus>(
    (tell) =>
      run((status) => {
        tell(status);
        onProgress?.(status);
      }).catch((error: unknown) => {
        throw systemFailure(error);
      }),
    (one, other) => one.status === other.status,
  );
}

/** Settings of the environment and of configuration files, which give variables to a copy of it. */
function contextOf({ signal, env = process.env, onWarning }: CommonOptions): {
  context: Context;
  env: NodeJS.ProcessEnv;
} {
  const copy = { ...env };
  const settings = loadSettings("rootling", [], { env: copy, uid: process.geteuid?.() ?? 0, program: "rootling" });
  const context = {
    settings,
    signal: signal ?? new AbortController().signal,
    progress: silentProgress,
    warn: (message: string) => onWarning?.(message),
  };
  return { context, env: copy };
}

function importOf(source: string, options: SourceOptions & CommonOptions, tell: (status: ProgressStatus) => void) {
  const { context, env } = contextOf(options);
  const status = new Status(source, "other", tell);
  const opened = ({ layers }: SourceImage) => status.opened(layers);
  return {
    context: { ...context, progress: status.progress },
    status,
    chosen: { ...sourceOf(options, context, env), opened },
  };
}

function sourceOf(options: SourceOptions, { settings }: Context, env: NodeJS.ProcessEnv) {
  const { platform } = options;
  const registry = registryAccess(options, options, settings, env);
  return { registry, ...(platform === undefined ? {} : { platform }) };
}

function imageOf({ refs, digest, platform, size, created, tree, run }: StoredImage): Image {
  return { names: refs, digest: digest as Digest, platform, size, created: new Date(created), tree, run };
}
