import { type ChainReport, verifyChain, type VerifyOptions } from "../audit/verify.ts";
import type { AbortSignalLike } from "../core/cancel.ts";
import type { AuditReader, UsageQuery } from "../core/store.ts";
import type { Usage } from "./uncounted-usage.ts";

type Soon<T> = Promise<T> | T;
type Read = Pick<AuditReader, "find" | "page" | "last" | "payloads" | "subject">;

/** What is on record. Beside a running gateway, reading it does not hold up the thread that serves calls. */
export type Archive = { readonly [N in keyof Read]: (...args: Parameters<Read[N]>) => Soon<ReturnType<Read[N]>> } & {
  chains(): string[];
  usage(query: UsageQuery): Soon<Usage>;
  /** Ends early once the signal fires. */
  verify(options: VerifyOptions, signal: AbortSignalLike): Promise<ChainReport>;
};

/** Reads in this thread, which serves no calls: that of a command without a daemon, or the housekeeper's. */
export const archiveOf = (reader: AuditReader, usage: Archive["usage"]): Archive => ({
  ...reader,
  usage,
  verify: (options, signal) => verifyChain(reader, options, signal),
});
