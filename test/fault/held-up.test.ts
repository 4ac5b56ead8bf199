import { expect, setDefaultTimeout, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { everything, fake, Place } from "../support/daemon.ts";
import { until } from "../support/until.ts";
import { serveFake } from "../support/upstream.ts";
import { textOf } from "../support/wire.ts";

// A gateway that is suspended for a while with running calls, as in a paused container.

setDefaultTimeout(30_000);

test("an answer that arrived while the gateway was suspended is not a timeout", async () => {
  using place = new Place({});
  await using http = await serveFake(["--http"], {}, { FAKE_LOG: place.path("http.log") });
  const timeout = "500ms";
  place.configure({
    servers: [fake("pipe", [], { timeout }), { id: "http", url: http.url, timeout }],
    policies: [everything()],
  });
  await using daemon = await place.start();
  const key = await place.key("agent");
  const call = async (tool: string, args: unknown) => textOf((await daemon.call(tool, args, key)).json);
  await Promise.all([call("pipe__echo", {}), call("http__echo", {})]);
  const args = { ms: 0, file: place.path("file") };
  const calls = [call("pipe__slow", args), call("http__slow", args), call("pipe__hang", {})];
  await until(() => [...place.calls("pipe"), ...place.calls("http")].length === 5, "the calls");
  daemon.child.kill("SIGSTOP");
  writeFileSync(args.file, "");
  // A suspended process has no event that tells when the time is up.
  await Bun.sleep(1_500);
  daemon.child.kill("SIGCONT");
  const texts = await Promise.all(calls);
  expect(texts.slice(0, 2)).toEqual(Array(2).fill(JSON.stringify(args)));
  expect(texts[2]).toContain(`did not answer within ${timeout}`);
});
