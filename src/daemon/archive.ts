import { existsSync } from "node:fs";
import type { AuditBroker } from "../audit/broker.ts";
import { type ChainReport, Verifier, verifyChain, type VerifyOptions } from "../audit/verify.ts";
import { Refusal } from "../control/refusal.ts";
import type { AuditReader, AuditRow, PayloadRow, SubjectRow, UsageQuery } from "../core/store.ts";
import { chainNames, chainPath } from "../store/sqlite/reader.ts";
import type { Answers, Asked, HousekeeperClient, Question } from "./housekeeping.ts";
import type { Usage } from "./uncounted.ts";

/** What is on record. Beside a running gateway, reading it does not hold up the thread that serves calls. */
export type Archive = {
  chains(): string[];
  find(query: Asked<"find">["query"]): Promise<Answers["find"]>;
  page(chain: string, from: number, limit: number): Promise<AuditRow[]>;
  payloads(chain: string, seq: number): Promise<PayloadRow[]>;
  subject(chain: string, id: string): Promise<SubjectRow | null>;
  usage(query: Asked<"usage">["query"]): Promise<Answers["usage"]>;
  verify(options: VerifyOptions): Promise<ChainReport>;
};

/**
 * Beside a running gateway: the housekeeper reads, in its own thread, from the files that are there. Once those of the
 * gateway's own log are gone or replaced, nothing is answered: what it still records is not in them.
 */
export function archiveBy(
  keeper: Pick<HousekeeperClient, "ask">,
  audit: Pick<AuditBroker, "chain" | "fault">,
  stateDir: string,
  main: string | null,
): Archive {
  const ask = async <K extends Question["kind"]>(question: Asked<K>): Promise<Answers[K]> => {
    const fault = audit.fault();
    if (fault !== null) throw new Refusal("unavailable", `the audit log cannot be read: ${fault}`);
    return keeper.ask<K>(question);
  };
  return {
    // Its own chain is one of them, also where its file is gone.
    chains: () => [...new Set([...chainNames(stateDir, main), audit.chain])].sort(),
    find: (query) => ask<"find">({ kind: "find", query }),
    page: (chain, from, limit) => ask<"page">({ kind: "page", chain, from, limit }),
    payloads: (chain, seq) => ask<"payloads">({ kind: "payloads", chain, seq }),
    subject: (chain, id) => ask<"subject">({ kind: "subject", chain, id }),
    usage: (query) => ask<"usage">({ kind: "usage", query }),
    async verify(options) {
      const fault = options.chain === audit.chain ? audit.fault() : null;
      if (fault === null) return keeper.ask<"verify">({ kind: "verify", options });
      // A log that is gone while it is in use is as much cut off as one that was gone before.
      const isGone = !existsSync(chainPath(stateDir, audit.chain, main));
      const verifier = new Verifier(options);
      verifier.fail({ seq: null, kind: isGone ? "truncated" : "unreadable", detail: fault });
      return verifier.report();
    },
  };
}

/** Without a running gateway: reads in this thread, since it serves no calls. */
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
