import type { ChainReport, VerifyOptions } from "../audit/verify.ts";
import { verifyChain } from "../audit/verify.ts";
import type { AuditReader, AuditRow, PayloadRow, UsageStore } from "../core/store.ts";
import { chainNames } from "../store/sqlite/reader.ts";
import type { Answers, Asked, HousekeeperClient } from "./housekeeping.ts";

/** What is on record. Beside a running gateway, reading it does not hold up the thread that serves calls. */
export type Archive = {
  chains(): string[];
  find(query: Asked<"find">["query"]): Promise<Answers["find"]>;
  page(chain: string, from: number, limit: number): Promise<AuditRow[]>;
  payloads(chain: string, seq: number): Promise<PayloadRow[]>;
  usage(query: Asked<"usage">["query"]): Promise<Answers["usage"]>;
  verify(options: VerifyOptions): Promise<ChainReport>;
};

/** Beside a running gateway: the housekeeper reads, in its own thread. */
export function archiveBy(keeper: HousekeeperClient, stateDir: string, main: string | null): Archive {
  return {
    chains: () => chainNames(stateDir, main),
    find: (query) => keeper.ask<"find">({ kind: "find", query }),
    page: (chain, from, limit) => keeper.ask<"page">({ kind: "page", chain, from, limit }),
    payloads: (chain, seq) => keeper.ask<"payloads">({ kind: "payloads", chain, seq }),
    usage: (query) => keeper.ask<"usage">({ kind: "usage", query }),
    verify: (options) => keeper.ask<"verify">({ kind: "verify", options }),
  };
}

/** Without a running gateway: reads in this thread, since it serves no calls. */
export function archiveOf(reader: AuditReader, usage: UsageStore["usage"]): Archive {
  return {
    chains: reader.chains,
    find: async (query) => reader.find(query),
    page: async (chain, from, limit) => reader.page(chain, from, limit),
    payloads: async (chain, seq) => reader.payloads(chain, seq),
    usage: async (query) => usage(query),
    verify: (options) => verifyChain(reader, options),
  };
}
