/** Imports `SOURCE OUTPUT FORMAT` (`store`: into the store) in a process of its own: for tests that need another user or a signal. */
import { importImage, importToFile, type OutputFormat } from "../../src/commands/import-image.ts";
import { testContext } from "./image-support.ts";

const [source = "", output = "", format = ""] = process.argv.slice(2);
const { context, layout, stop, warnings } = testContext(process.env.IMAGE_TEST_DIRECTORY ?? "", {
  ROOTLING_TEMP_PATH: process.env.ROOTLING_TEMP_PATH ?? "/tmp",
});
process.on("SIGINT", () => stop.abort());
try {
  if (format === "store") await importImage(context, layout, source);
  else await importToFile(context, layout, source, { output, format: format as OutputFormat });
} catch (error) {
  process.exitCode = 125;
  process.stderr.write(`${(error as { code?: string }).code}: ${(error as Error).message}\n`);
}
for (const warning of warnings) process.stderr.write(`warning: ${warning}\n`);
