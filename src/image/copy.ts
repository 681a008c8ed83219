/** An image into a layout with the layers that it has: nothing is merged, nothing unpacked. */
import type { Context } from "../base/context.ts";
import { artifactOf } from "./artifact.ts";
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
    return await copyInto(layout, image, { comp, sourceDateEpoch }, context);
  } catch (error) {
    await layout.abort();
    throw error;
  }
}

async function copyInto(
  layout: LayoutOutput,
  image: SourceImage,
  options: Pick<CopyOptions, "comp" | "sourceDateEpoch">,
  context: Context,
): Promise<{ digest: Digest; size: number }> {
  const how = { ...options, oci: true, scratch: async () => layout.scratch };
  const { manifest, config, layers } = await artifactOf(image, how, context);
  context.progress.expect(layers.reduce((sum, { file, size }) => sum + (file === undefined ? size : 0), 0));
  // The uppermost first, as sources fetch them.
  for (const layer of [...layers].reverse()) {
    if (layer.file !== undefined) {
      await layout.adopt(layer, layer.file);
      continue;
    }
    const task = context.progress.task(`copy ${layer.digest}`, `copy ${layer.label}`, layer.size);
    await layout.blob(layer, async () => counted(await layer.open(), (bytes) => task.advance(bytes)));
    task.done();
  }
  await layout.document(config);
  await layout.document(manifest);
  await layout.commit(manifest, tagOf(image.name));
  return { digest: manifest.digest, size: layers.reduce((sum, { size }) => sum + size, 0) };
}

async function* counted(chunks: AsyncIterable<Buffer>, report: (bytes: number) => void): AsyncGenerator<Buffer> {
  for await (const chunk of chunks) {
    report(chunk.length);
    yield chunk;
  }
}
