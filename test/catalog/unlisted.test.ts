import { heapStats } from "bun:jsc";
import { expect, test } from "bun:test";
import { admin, buildCatalog } from "../support/catalog.ts";

test("the route of a URI from a result does not keep the result in memory", () => {
  const catalog = buildCatalog({ a: { tools: ["t"], templates: ["doc://{id}"] } });
  const from = catalog.find("a:t")!;
  const more = Buffer.alloc(2 ** 20, "x").toString();
  const heap = (): number => (Bun.gc(true), heapStats().heapSize);
  const before = heap();
  for (let at = 0; at < 100; at++) {
    const link = `{"type":"resource_link","uri":"doc://the-document-${at}","name":"n"}`;
    const text = `{"content":[${link},{"type":"text","text":"${more}"}]}`;
    expect(catalog.outgoing(from, text, admin)).toBe(text);
  }
  expect(heap() - before).toBeLessThan(20 * 2 ** 20);
  const uri = "doc://the-document-99";
  expect(catalog.locate(uri, [])).toMatchObject([{ name: uri, wire: uri, canonical: `a:${uri}` }]);
});
