import { type ChainReport, verifyChain, type VerifyOptions } from "../audit/verify.ts";
import type { AuditQuery, AuditReader, AuditRow, PayloadRow, SubjectRow, UsageQuery } from "../core/store.ts";
import type { Usage } from "./uncounted-usage.ts";

/** What is on record. Beside a running gateway, reading it does not hold up the thread that serves calls. */
export type Archive = {
  chains(): string[];
  find(query: AuditQuery): Promise<ReturnType<AuditReader["find"]>>;
  page(chain: string, from: number, limit: number): Promise<AuditRow[]>;
  payloads(chain: string, seq: number): Promise<PayloadRow[]>;
  subject(chain: string, id: string): Promise<SubjectRow | null>;
  usage(query: UsageQuery): Promise<Usage>;
  verify(options: VerifyOptions): Promise<ChainReport>;
};

/** Reads in this thread, which serves no calls: that of a command without a daemon, or the housekeeper's. */
export function archiveOf(reader: AuditReader, usage: (query: UsageQuery) => Usage): Archive {
  return {
    chains: reader.chains,
    find: async (query) => reader.find(query),
    page: async (chain, from, limit) => reader.page(chain, from, limit),
    payloads: async (chain, seq) => reader.payloads(chain, seq),
    subject: async (chain, id) => reader.subject(chain, id),
    usage: async (query) => usage(query),
    verify: (options) => verifyChain(reader, options),
  };
}
