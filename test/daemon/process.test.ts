import { expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync } from "node:fs";
import { everything, Place, servesParent } from "../support/daemon.ts";
import { reply, serve } from "../support/mcp-server.ts";
import { isRoot, canBecomeNobody } from "../support/processes.ts";
import { StdioClient } from "../support/stdio-client.ts";
import { textOf } from "../support/wire.ts";

setDefaultTimeout(30_000);

test.each(["daemon", "serve"])(
  "SEMANTICS 7: %s does not start if any certificate would be accepted",
  async (command) => {
    using place = new Place({ auth: servesParent, servers: [] });
    const ran = await place.cli([command], { env: { NODE_TLS_REJECT_UNAUTHORIZED: "0" } });
    expect(ran).toMatchObject({
      code: 1,
      stdout: "",
      stderr: expect.stringContaining("any certificate of an upstream"),
    });
  },
);

test.skipIf(!canBecomeNobody || !Bun.which("prlimit"))(
  "a start with too low a thread limit fails with a message instead of hanging (needs prlimit, and setpriv as root)",
  async () => {
    using place = new Place({ auth: servesParent, servers: [] });
    place.becomeNobody();
    place.prefix = ["prlimit", "--nproc=12", ...place.prefix];
    const ran = await place.cli(["daemon"]);
    expect(ran).toMatchObject({ code: 1, stderr: expect.stringContaining("may have 12 processes and threads") });
  },
);

test("if JIT compilation is not allowed, a start says what prevents it and what to allow", async () => {
  using place = new Place({ auth: servesParent, servers: [] });
  const ran = await place.cli(["daemon"], { env: { BUN_JSC_useJIT: "0" } });
  expect(ran).toMatchObject({ code: 1, stdout: "" });
  expect(ran.stderr).toMatch(/cannot load the C library .* \(.*requires the JIT\); .*no MemoryDenyWriteExecute/);
});

test("SEMANTICS 7: proxy variables do not reroute upstream requests of an embedded gateway", async () => {
  const tools = [{ name: "echo", inputSchema: { type: "object" } }];
  using upstream = serve(({ method, id }) => (method === "tools/list" ? reply(id, { tools }) : null));
  using place = new Place({
    auth: servesParent,
    servers: [{ id: "web", url: upstream.url }],
    policies: [everything()],
  });
  await using client = new StdioClient(place, { HTTP_PROXY: "http://127.0.0.1:1", http_proxy: "http://127.0.0.1:1" });
  await client.open();
  expect(textOf(await client.call("web__echo"))).toBe("ok");
});

test.skipIf(process.platform !== "linux" || !isRoot)(
  "SEMANTICS 7: a start sets the missing variables that Bun reads at startup and keeps those already set (needs Linux and root)",
  async () => {
    using place = new Place({ auth: servesParent, servers: [] });
    place.prefix = ["env", "-u", "BUN_CONFIG_MAX_HTTP_REQUESTS", "UV_THREADPOOL_SIZE=8"];
    await using daemon = await place.start();
    const environment = readFileSync(`/proc/${daemon.pid}/environ`, "utf8").split("\0");
    expect(environment).toContain("BUN_CONFIG_MAX_HTTP_REQUESTS=16384");
    expect(environment).toContain("UV_THREADPOOL_SIZE=8");
  },
);

test.skipIf(!canBecomeNobody || !Bun.which("prlimit"))(
  "SEMANTICS 7: with a low thread limit, the pool leaves most threads to servers and to Bun (needs prlimit, and setpriv as root)",
  async () => {
    using place = new Place({ auth: servesParent, servers: [] });
    place.becomeNobody();
    place.prefix = ["env", "-u", "UV_THREADPOOL_SIZE", "prlimit", "--nproc=400", ...place.prefix];
    await using daemon = await place.start();
    expect(readFileSync(`/proc/${daemon.pid}/environ`, "utf8").split("\0")).toContain("UV_THREADPOOL_SIZE=100");
  },
);
