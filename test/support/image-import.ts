/** Imports `SOURCE OUTPUT FORMAT` in a process of its own: for tests that need another user or a signal. */
import { importToFile, type OutputFormat } from "../../src/commands/import-image.ts";
import { testContext } from "./image-support.ts";

const [source = "", output = "", format = ""] = process.argv.slice(2);
const { context, layout, stop, warnings } = testContext(process.env.IMAGE_TEST_DIRECTORY ?? "");
process.on("SIGINT", () => stop.abort());
try {
  await importToFile(context, layout, source, { output, format: format as OutputFormat });
} catch (error) {
  process.exitCode = 125;
  process.stderr.write(`${(error as { code?: string }).code}: ${(error as Error).message}\n`);
}
for (const warning of warnings) process.stderr.write(`warning: ${warning}\n`);
