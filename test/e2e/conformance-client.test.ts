import { expect, setDefaultTimeout, test } from "bun:test";
import { faults, judgeWithRetry, type Revision, runClient } from "../support/conformance.ts";
import { openDesk } from "../support/conformance-client.ts";
import { client } from "../support/conformance-expected.ts";

setDefaultTimeout(30_000);

const revisions: readonly Revision[] = ["2025-11-25", "2026-07-28"];

test.each(revisions)(
  "conformance, client side, %s: no unexpected failures",
  async (revision) => {
    await using desk = openDesk();
    const find = async () => faults(await runClient(desk.url, revision));
    expect(await judgeWithRetry(find, client[revision])).toEqual({ unexpected: [], stale: [] });
  },
  240_000,
);
