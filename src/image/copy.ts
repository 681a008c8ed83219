/** An image into a layout with the layers that it has: nothing is merged, nothing unpacked. */
import type { Context } from "../base/context.ts";
import { type Artifact, artifactOf } from "./artifact.ts";
import { tagOf } from "./oci-documents.ts";
import { type LayoutOptions, type LayoutOutput, openLayoutOutput } from "./sinks/layout-output.ts";
import type { Digest, SourceImage } from "./types.ts";

export interface CopyOptions extends LayoutOptions {
  /** Compresses the layers anew; undefined: they stay as they are. */
  comp: string | undefined;
  sourceDateEpoch: string | undefined;
}

/** Writes the layout. Returns the digest of its manifest, and the bytes of its layers. */
export async function copyImage(
  image: SourceImage,
  { comp, sourceDateEpoch, ...options }: CopyOptions,
  context: Context,
): Promise<{ digest: Digest; size: number }> {
  const layout = await openLayoutOutput(options);
  try {
    const how = { comp, sourceDateEpoch, oci: true, scratch: async () => layout.scratch };
    return await writeInto(layout, await artifactOf(image, how, context), tagOf(image.name), context);
  } catch (error) {
    await layout.abort();
    throw error;
  }
}

/** Writes what is an image already, with OCI's media types. */
export async function writeArtifact(
  artifact: Artifact,
  tag: string,
  options: LayoutOptions,
  context: Context,
): Promise<void> {
  const layout = await openLayoutOutput(options);
  try {
    await writeInto(layout, artifact, tag, context);
  } catch (error) {
    await layout.abort();
    throw error;
  }
}

async function writeInto(
  layout: LayoutOutput,
  { manifest, config, layers }: Artifact,
  tag: string,
  context: Context,
): Promise<{ digest: Digest; size: number }> {
  context.progress.expect(layers.reduce((sum, { file, size }) => sum + (file === undefined ? size : 0), 0));
  // The uppermost first, as sources fetch them.
  for (const layer of [...layers].reverse()) {
    if (layer.file?.startsWith(`${layout.scratch}/`)) {
      await layout.adopt(layer, layer.file);
      continue;
    }
    const task = context.progress.task(`copy ${layer.digest}`, `copy ${layer.label}`, layer.size);
    await layout.blob(layer, async () => counted(await layer.open(), (bytes) => task.advance(bytes)));
    task.done();
  }
  await layout.document(config);
  await layout.document(manifest);
  await layout.commit(manifest, tag);
  return { digest: manifest.digest, size: layers.reduce((sum, { size }) => sum + size, 0) };
}

async function* counted(chunks: AsyncIterable<Buffer>, report: (bytes: number) => void): AsyncGenerator<Buffer> {
  for await (const chunk of chunks) {
    report(chunk.length);
    yield chunk;
  }
}
