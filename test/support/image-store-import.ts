/** Imports `SOURCE` into the store in a process of its own and prints when the image was made. */
import { importImage } from "../../src/commands/import-image.ts";
import { testContext } from "./image-support.ts";

const { context, layout } = testContext(process.env.IMAGE_TEST_DIRECTORY ?? "");
const image = await importImage(context, layout, process.argv[2] ?? "");
process.stdout.write(image.created);
