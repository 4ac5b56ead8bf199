import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { SkillsClient } from "@modelcontextprotocol/client/ext/skills";
import { createMcpHandler, McpServer } from "@modelcontextprotocol/server";
import { memorySkillFiles, SkillsExtension } from "@modelcontextprotocol/server/ext/skills";
import { parse } from "yaml";
import { type Daemon, everything, start } from "../support/daemon.ts";

setDefaultTimeout(30_000);

// The skills extension with the official library on both sides, whose client checks every digest and refuses a result
// without the members that its revision requires.

const eras = ["legacy", "modern"] as const;
type Era = (typeof eras)[number];

const skills = "io.modelcontextprotocol/skills";
const hints = { ttlMs: 9000, cacheScope: "public" } as const;
const skill = (name: string): string => `---\nname: ${name}\ndescription: h\u00e9\n---\n# ${name}\n`;

const servers: { stop(force: boolean): Promise<void> }[] = [];
const urls: Record<Era, string> = { legacy: "", modern: "" };
let daemon: Daemon;
let key = "";

/** Serves skills in a separate folder per era, because URIs that servers share are tested elsewhere. */
async function serveSkills(folder: Era): Promise<string> {
  const files = {
    "pdf/SKILL.md": skill("pdf"),
    "pdf/ref/a.bin": new Uint8Array([0, 255]),
    "mail/SKILL.md": skill("mail"),
  };
  const catalog = await SkillsExtension.load(memorySkillFiles(files), {
    prefix: folder,
    pageSize: 1,
    cacheHint: hints,
  });
  const handler = createMcpHandler(() => {
    const server = new McpServer({ name: folder, version: "1" }, { capabilities: { resources: {} } });
    catalog.attach(server);
    return server;
  });
  const server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: (request) => handler.fetch(request) });
  servers.push(server);
  return server.url.href;
}

beforeAll(async () => {
  for (const era of eras) urls[era] = await serveSkills(era);
  daemon = await start({
    servers: eras.map((era) => ({ id: era, url: urls[era], protocol: era })),
    policies: [everything()],
  });
  key = await daemon.place.key("agent");
});

afterAll(async () => {
  await daemon[Symbol.asyncDispose]();
  await Promise.all(servers.map((server) => server.stop(true)));
});

/** Asks for everything about skills that a client can. */
async function tour(era: Era, url: string) {
  const mode = era === "modern" ? ({ pin: "2026-07-28" } as const) : era;
  const capabilities = { extensions: { [skills]: {} } };
  const client = new Client({ name: "t", version: "1" }, { capabilities, versionNegotiation: { mode } });
  const headers = { Authorization: `Bearer ${key}` };
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } }));
  const asking = new SkillsClient(client, { parseFrontmatter: parse });
  const { ttlMs, cacheScope, skills: listed } = await asking.list();
  const seen: unknown[] = [asking.directoryRead, listed];
  for (const { uri } of listed) {
    const got = await asking.get(uri);
    seen.push(got.skill, await asking.read(got.skill));
    const { resources } = await asking.readDirectory(uri.slice(0, uri.lastIndexOf("/")));
    seen.push(resources);
  }
  const pdf = listed.find(({ uri }) => uri.includes("/pdf/"));
  if (pdf) seen.push(await asking.read(pdf, "ref/a.bin"));
  const missing = await asking.get("skill://none/SKILL.md").catch(({ code }: { code: number }) => code);
  await client.close();
  return { seen, missing, hints: { ttlMs, cacheScope } };
}

describe.each(eras)("a %s client", (era) => {
  test.each(eras)("D3: reads the skills of a %s server as it would directly, page by page", async (server) => {
    const [through, direct] = [await tour(era, `${daemon.url}/mcp/${server}`), await tour(era, urls[server])];
    expect(direct.seen).toHaveLength(9);
    expect({ seen: through.seen, missing: through.missing }).toEqual({ seen: direct.seen, missing: direct.missing });
    // A caller that sees a skill has a right to it, which a cache shared with others does not know.
    if (era === "modern") {
      expect(direct.hints).toEqual(hints);
      expect(through.hints).toEqual({ ttlMs: server === "modern" ? 9000 : 0, cacheScope: "private" });
    }
  });
});
