import { StdioServerTransport } from "@modelcontextprotocol/sdk/server/stdio.js";
import type { BuiltinName } from "../core/upstream.ts";
import { createCalculator } from "./calculator/server.ts";

/** Serves on stdin and stdout; resolves when the peer closes stdin. */
export type Start = (version: string) => Promise<void>;

/** Start function of each tool server built into the executable. */
export const builtins = {
  calculator: (version) => serve(createCalculator(version)),
} satisfies Record<BuiltinName, Start>;

async function serve(server: ReturnType<typeof createCalculator>): Promise<void> {
  const ended = Promise.withResolvers<void>();
  // The SDK's transport does not notice the end of stdin by itself.
  process.stdin.once("end", ended.resolve).once("close", ended.resolve);
  await server.connect(new StdioServerTransport());
  await ended.promise;
  await server.close();
}
