import { expect, test } from "bun:test";
import { opens, serve } from "../../support/mcp-server.ts";
import { http, serveFake, textOf, upstreams } from "../../support/upstream.ts";

test("everything that a server is sent goes through its proxy", async () => {
  // It answers for the server, which only a proxy can be asked for: nothing has its name.
  using proxy = serve(({ method, id }) => (method === "initialize" ? opens(id, "s") : null));
  {
    await using set = upstreams([http("a", "http://upstream.test/mcp", { proxy: proxy.url })]);
    await set.settled();
    expect(textOf(await set.ask("a", "t"))).toBe("ok");
  }
  const seen = proxy.seen.map(({ verb, method }) => `${verb} ${method}`);
  for (const each of ["POST initialize", "POST notifications/initialized", "GET ", "POST tools/call", "DELETE "])
    expect(seen).toContain(each);
});

test("so does everything that a server over the old pair of endpoints is sent", async () => {
  await using proxy = await serveFake(["--pair"]);
  const { pathname } = new URL(proxy.url);
  const options = http("a", `http://upstream.test${pathname}`, { transport: "sse", proxy: proxy.url });
  await using set = upstreams([options]);
  await set.settled();
  expect(textOf(await set.ask("a", "echo", { a: 1 }))).toContain("1");
});
