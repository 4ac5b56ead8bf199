import { transportSuite } from "../../suites/transport.ts";
import { fake, serveFake } from "../../support/upstream.ts";

const child = (era: "legacy" | "modern") => ({
  open: async (more: Record<string, unknown> = {}, env: Record<string, string> = {}) => ({
    options: fake("fake", ["--era", era, "--rich"], { ...more, env }),
    async [Symbol.asyncDispose]() {},
  }),
  era,
  restarts: true,
  streams: true,
  tells: true,
});

transportSuite("stdio", child("legacy"));
transportSuite("stdio modern", child("modern"));
type Remote = { era?: "legacy" | "modern"; streams?: boolean; tells?: boolean };
const remote = (args: string[], { era = "legacy", streams = true, tells = true }: Remote = {}) => ({
  open: (more: Record<string, unknown> = {}, env: Record<string, string> = {}) =>
    serveFake(["--era", era, "--rich", ...args], more, env),
  era,
  restarts: false,
  streams,
  tells,
});
transportSuite("http json", remote(["--http"], { streams: false }));
transportSuite("http sse", remote(["--http", "--sse"]));
transportSuite("http modern", remote(["--http", "--sse"], { era: "modern", tells: false }));
transportSuite("http+sse pair", remote(["--pair"]));
transportSuite("R98 websocket", remote(["--websocket"]));
transportSuite("R98 websocket modern", remote(["--websocket"], { era: "modern" }));
