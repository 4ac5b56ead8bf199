import { fileURLToPath } from "node:url";
import { createMcpHandler, McpServer } from "@modelcontextprotocol/server";
import { z } from "zod";
import { freePort } from "../../scripts/lib/bench/children.ts";
import { linesOf } from "./seen.ts";

/** Returns the command line of the protocol's own test server. */
export const everythingCommand = (transport: "stdio" | "streamableHttp"): string[] => [
  process.execPath,
  fileURLToPath(import.meta.resolve("@modelcontextprotocol/server-everything/dist/index.js")),
  transport,
];

export type HttpServer = AsyncDisposable & { readonly url: string };

/** Starts the protocol's own test server over streamable HTTP, on a free port unless one is given. */
export async function everythingHttp(port?: number): Promise<HttpServer & { readonly port: number }> {
  for (let attempt = 0; attempt < 5; attempt++) {
    const own = port ?? freePort();
    const child = Bun.spawn(everythingCommand("streamableHttp"), {
      env: { PATH: process.env["PATH"] ?? "", PORT: String(own) },
      stdin: "ignore",
      stdout: "ignore",
      stderr: "pipe",
    });
    const lines = linesOf(child.stderr);
    let { value: line } = await lines.next();
    while (line !== undefined && !line.includes("listening on port")) ({ value: line } = await lines.next());
    const end = async (): Promise<void> => {
      child.kill("SIGKILL");
      await child.exited;
    };
    if (line !== undefined) return { url: `http://127.0.0.1:${own}/mcp`, port: own, [Symbol.asyncDispose]: end };
    // Another process took the port in the meantime.
    await end();
  }
  throw new Error("server-everything did not listen");
}

export type ModernServer = HttpServer & {
  /** Speaks both eras; `url` speaks only 2026-07-28. */
  readonly bothEras: string;
  /** Returns the number of cancelled calls of `wait`. */
  cancelled(): number;
  /** Lets the tool `steps` continue with its next step. */
  goOn(): void;
};

/** Starts a server of the official 2.x library. */
export function modernServer(): ModernServer {
  let cancelled = 0;
  let goOn = (): void => {};
  const create = (): McpServer => {
    const server = new McpServer({ name: "modern", version: "1" });
    const numbers = z.object({ a: z.number(), b: z.number() });
    const sum = z.object({ sum: z.number() });
    server.registerTool("add", { description: "a + b", inputSchema: numbers, outputSchema: sum }, ({ a, b }) => ({
      content: [{ type: "text", text: String(a + b) }],
      structuredContent: { sum: a + b },
    }));
    server.registerTool("image", { inputSchema: z.object({}), annotations: { readOnlyHint: true } }, () => ({
      content: [
        {
          type: "image",
          data: "iVBORw0KGgo=",
          mimeType: "image/png",
          annotations: { audience: ["user"], priority: 0.5 },
        },
        { type: "audio", data: "UklGRg==", mimeType: "audio/wav" },
      ],
      _meta: { "example.org/kept": [1, 2] },
    }));
    // Only 2026-07-28 has structured content that is not an object.
    server.registerTool("grid", { inputSchema: z.object({}), outputSchema: z.array(z.number()) }, () => ({
      content: [{ type: "text", text: "[1,2]" }],
      structuredContent: [1, 2],
    }));
    server.registerTool("fail", { inputSchema: z.object({}) }, () => {
      throw new Error("it did not work");
    });
    server.registerTool("steps", { inputSchema: z.object({ steps: z.int() }) }, async ({ steps }, { mcpReq }) => {
      const progressToken = mcpReq._meta?.progressToken;
      for (let progress = 1; progressToken !== undefined && progress <= steps; progress++) {
        const params = { progressToken, progress, total: steps, message: `step ${progress}` };
        const seen = new Promise<void>((resolve) => (goOn = resolve));
        await mcpReq.notify({ method: "notifications/progress", params });
        await seen;
      }
      return { content: [{ type: "text", text: `${steps} steps` }] };
    });
    server.registerTool("wait", { inputSchema: z.object({}) }, async (_, { mcpReq }) => {
      const progressToken = mcpReq._meta?.progressToken;
      if (progressToken !== undefined) {
        await mcpReq.notify({ method: "notifications/progress", params: { progressToken, progress: 1 } });
      }
      await new Promise<void>((resolve) => mcpReq.signal.addEventListener("abort", () => resolve(), { once: true }));
      cancelled++;
      return { content: [] };
    });
    return server;
  };
  const modern = createMcpHandler(create, { legacy: "reject" });
  const both = createMcpHandler(create, { legacy: "stateless" });
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    idleTimeout: 0,
    fetch: (request) => (new URL(request.url).pathname === "/both" ? both : modern).fetch(request),
  });
  return {
    url: `${server.url.href}mcp`,
    bothEras: `${server.url.href}both`,
    cancelled: () => cancelled,
    goOn: () => goOn(),
    [Symbol.asyncDispose]: () => server.stop(true),
  };
}
