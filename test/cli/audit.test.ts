import { expect, test } from "bun:test";
import { everything, fake, Place } from "../support/daemon.ts";

test("R25 audit stats of a time without records says so instead of printing empty tables", async () => {
  using place = new Place({ auth: { type: "api-key" }, servers: [fake("fake")], policies: [everything()] });
  await place.newKey("agent");
  const stats = (...flags: string[]) => place.cli(["audit", "stats", "--until", "2020-01-01", ...flags]);
  const stderr = "no record lies in that time\n";
  expect(await stats()).toEqual({ code: 0, stdout: "", stderr });
  const json = await stats("--json");
  expect(json).toMatchObject({ code: 0, stderr });
  expect(JSON.parse(json.stdout)).toMatchObject({ chains: [{ chain: "main", records: 0 }], byType: {} });
});
