/** Removes the image `NAME` of the store, in a process of its own that may be killed. */
import { findImage, removeImage } from "../../src/store/images.ts";
import { testContext } from "./image-support.ts";

const { context, layout } = testContext(process.env.IMAGE_TEST_DIRECTORY ?? "");
const image = findImage(layout, process.argv[2] ?? "");
if (image !== undefined) await removeImage(layout, image, context.signal);
