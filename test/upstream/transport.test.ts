import { transportSuite } from "../suites/transport.ts";
import { fake, fakeArgs, http } from "../support/upstream.ts";

/** Starts fakemcp as an HTTP server of its own. */
async function serve(more: Record<string, unknown>, ...args: string[]) {
  const child = Bun.spawn([process.execPath, ...fakeArgs("--http", ...args)], { stdout: "pipe" });
  const reader = child.stdout.getReader();
  const { value } = await reader.read();
  const options = http("fake", new TextDecoder().decode(value).trim(), more);
  const dispose = async (): Promise<void> => {
    child.kill("SIGKILL");
    await child.exited;
  };
  return { options, dispose };
}

const nothing = async (): Promise<void> => {};
const child = (...args: string[]) => ({
  open: async (more = {}) => ({ options: fake("fake", args, more), dispose: nothing }),
  restarts: true,
  streams: true,
  tells: true,
});

transportSuite("stdio", child());
transportSuite("stdio modern", child("--era", "modern"));
const remote = (streams: boolean, tells: boolean, ...args: string[]) => ({
  open: (more = {}) => serve(more, ...args),
  restarts: false,
  streams,
  tells,
});
transportSuite("http json", remote(false, true));
transportSuite("http sse", remote(true, true, "--sse"));
transportSuite("http modern", remote(true, false, "--era", "modern", "--sse"));
