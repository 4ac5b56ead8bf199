import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, writeFileSync } from "node:fs";
import path from "node:path";
import { sample } from "../support/sample.ts";

setDefaultTimeout(30_000);

const program = sample();
afterAll(() => program.close());

test("R21 R120: init writes a configuration that config check accepts and config show prints", async () => {
  const file = path.join(program.directory, "gateway.yaml");
  const env = { MCPGW_STATE: "" };
  expect((await program.run(["init", "--config", file], { env })).code).toBe(0);
  expect(existsSync(file)).toBe(true);
  expect((await program.run(["init", "--config", file], { env })).err).toContain("--force");
  const check = await program.run(["config", "check", "--config", file], { env });
  expect(check).toMatchObject({ code: 0, out: `${file} is valid\n` });
  expect((await program.run(["config", "show", "--config", file], { env })).out).toContain("listen:");
  const placed = await program.run(["config", "show", "--config", file, "--state", "/st"], { env });
  expect(placed.out).toContain("state: /st # --state\n");
  writeFileSync(file, "metering: {enabled: true}\n");
  const old = await program.run(["config", "check", "--config", file], { env });
  expect(old.code).toBe(0);
  expect(old.err).toContain("mcpgw: warning: gateway.yaml:1:1: metering: older spelling");
  writeFileSync(file, "listen: {htpp: 127.0.0.1:1}\n");
  const broken = await program.run(["config", "check", "--config", file], { env });
  expect(broken.code).toBe(2);
  expect(broken.err).toContain("gateway.yaml:1:");
  const schema = await program.run(["config", "schema"]);
  expect(JSON.parse(schema.out)).toHaveProperty("properties.listen");
});

test("R28 init writes to the path in the environment, and a flag takes precedence over it", async () => {
  const at = (name: string) => path.join(program.directory, name);
  for (const [args, env, written] of [
    [[], { MCPGW_CONFIG: at("a.yaml"), MCP_GATEWAY_CONFIG: at("b.yaml") }, "a.yaml"],
    [[], { MCP_GATEWAY_CONFIG: at("b.yaml") }, "b.yaml"],
    [["--config", at("c.yaml")], { MCPGW_CONFIG: at("a.yaml") }, "c.yaml"],
  ] as const) {
    expect(await program.run(["init", "--force", ...args], { env })).toMatchObject({
      code: 0,
      out: `wrote ${at(written)}\n`,
    });
  }
});

test("config show prints a configuration whose socket path is too long for a daemon, and no paths then", async () => {
  const file = path.join(program.directory, "long.yaml");
  writeFileSync(file, "{}");
  const socket = `/${"s".repeat(120)}`;
  const shown = await program.run(["config", "show", "--config", file, "--socket", socket]);
  expect(shown).toMatchObject({ code: 0, out: expect.stringContaining(`socket: ${socket}`) });
  expect(shown.err).toContain(`read from ${file}\n`);
});

test("init prints the next commands, with the given state directory", async () => {
  const file = path.join(program.directory, "placed", "gateway.yaml");
  const written = await program.run(["init", "--force", "--config", file, "--state", "st"]);
  expect(written.err).toContain("next: mcpgw daemon --config placed/gateway.yaml --state st\n");
  const key = (role: string) => `mcpgw keys create NAME CONSUMER ${role} --config placed/gateway.yaml --state st\n`;
  expect(written.err).toContain(key("reader"));
  const demo = await program.run(["init", "--demo", "--force", "--config", file, "--state", "st"]);
  expect(demo.err).toContain(key("demo"));
  expect(written.err.includes("as a user other than root")).toBe(process.getuid?.() === 0);
});
