import { expect, setDefaultTimeout, test } from "bun:test";
import { everything, Place } from "../support/daemon.ts";
import { reply, serve } from "../support/mcp-server.ts";
import { mayBecomeNobody } from "../support/processes.ts";
import { StdioClient } from "../support/stdio-client.ts";
import { textOf } from "../support/wire.ts";

setDefaultTimeout(30_000);

const auth = { type: "api-key", stdio: { consumerId: "parent", roles: ["user"] } };

test.each(["daemon", "serve"])(
  "SEMANTICS 7: %s does not start where any certificate would be accepted",
  async (command) => {
    using place = new Place({ auth, servers: [] });
    const ran = await place.cli([command], { env: { NODE_TLS_REJECT_UNAUTHORIZED: "0" } });
    expect(ran).toMatchObject({
      code: 1,
      stdout: "",
      stderr: expect.stringContaining("any certificate of an upstream"),
    });
  },
);

test.skipIf(!mayBecomeNobody || !Bun.which("prlimit"))(
  "with too few threads allowed to run, a start fails and says so, rather than wait for one (needs prlimit, and setpriv as root)",
  async () => {
    using place = new Place({ auth, servers: [] });
    place.becomeNobody();
    place.prefix = ["prlimit", "--nproc=12", ...place.prefix];
    const ran = await place.cli(["daemon"]);
    expect(ran).toMatchObject({ code: 1, stderr: expect.stringContaining("may have 12 processes and threads") });
  },
);

test("SEMANTICS 7: proxy variables reroute no upstream of `serve` alone", async () => {
  const tools = [{ name: "echo", inputSchema: { type: "object" } }];
  using upstream = serve(({ method, id }) => (method === "tools/list" ? reply(id, { tools }) : null));
  using place = new Place({ auth, servers: [{ id: "web", url: upstream.url }], policies: [everything()] });
  await using client = new StdioClient(place, { HTTP_PROXY: "http://127.0.0.1:1", http_proxy: "http://127.0.0.1:1" });
  await client.open();
  expect(textOf(await client.call("web__echo"))).toBe("ok");
});
