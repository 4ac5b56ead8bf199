import { expect, test } from "bun:test";
import { auditLog } from "../../src/daemon/handlers/audit.ts";
import { pages, records } from "../../src/daemon/handlers/records.ts";
import { openChain } from "../../src/store/sqlite/chain.ts";
import { tempState } from "../support/audit.ts";
import { rowsOf } from "../suites/store.ts";
import { archiveAt } from "../support/archive.ts";

test("R8 a log longer than a page is read whole, each record once, with what is added meanwhile", async () => {
  using at = tempState();
  using store = openChain(at.db());
  const add = (from: number, to: number) =>
    store.append(
      rowsOf(
        Array.from({ length: to - from + 1 }, () => ({})),
        from,
      ),
    );
  const seqs = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => from + index);
  add(1, 4_100);
  using archive = archiveAt(at);
  const all: number[] = [];
  for await (const { row } of records(archive, "main", {})) all.push(row.seq);
  expect(all).toEqual(seqs(1, 4_100));
  const later: number[] = [];
  for await (const page of pages(archive, "main", 3_000)) {
    if (later.length === 0) add(4_101, 4_102);
    later.push(...page.map(({ seq }) => seq));
  }
  expect(later).toEqual(seqs(3_000, 4_102));
});

test("R8 R25 an answer that holds the newest records only says that there are older ones", async () => {
  using at = tempState();
  using store = openChain(at.db());
  store.append(rowsOf(Array.from({ length: 5 }, () => ({}))));
  using archive = archiveAt(at);
  const answer = async (limit: number) => {
    const { records: found, more } = await auditLog(archive, { limit });
    return [found.map(({ seq }) => seq), more];
  };
  expect(await answer(3)).toEqual([[5, 4, 3], true]);
  expect(await answer(5)).toEqual([[5, 4, 3, 2, 1], false]);
});
