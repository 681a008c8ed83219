/** What the tasks of layers are called, by which those who follow the progress tell them apart. */
import type { Digest, LayerRef } from "./types.ts";

const DOWNLOAD = "download ";

export const downloadId = (digest: Digest): string => `${DOWNLOAD}${digest}`;

export const isDownload = (id: string): boolean => id.startsWith(DOWNLOAD);

export const unpackId = ({ digest, label }: Pick<LayerRef, "digest" | "label">): string => `unpack ${digest ?? label}`;
