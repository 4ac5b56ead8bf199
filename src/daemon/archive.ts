import { type ChainReport, verifyChain, type VerifyOptions } from "../audit/verify.ts";
import type { AbortSignalLike } from "../core/cancel.ts";
import type { AuditReader, UsageQuery } from "../core/store.ts";
import type { Usage } from "./uncounted-usage.ts";

type Soon<T> = Promise<T> | T;
type Read = Pick<AuditReader, "find" | "page" | "last" | "payloads" | "subject">;

/** Read access to the audit records. In a running gateway, reads do not block the thread that serves calls. */
export type Archive = { readonly [N in keyof Read]: (...args: Parameters<Read[N]>) => Soon<ReturnType<Read[N]>> } & {
  chains(): string[];
  usage(query: UsageQuery): Soon<Usage>;
  /** Stops early when the signal fires. */
  verify(options: VerifyOptions, signal: AbortSignalLike): Promise<ChainReport>;
};

/** Returns an archive that reads in this thread; for offline commands and the housekeeper, which serve no calls. */
export const archiveOf = (reader: AuditReader, usage: Archive["usage"]): Archive => ({
  ...reader,
  usage,
  verify: (options, signal) => verifyChain(reader, options, signal),
});
