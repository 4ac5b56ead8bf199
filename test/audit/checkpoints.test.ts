import { expect, test } from "bun:test";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { silent } from "../../src/core/log.ts";
import { until } from "../support/until.ts";
import { openBroker, runCall, tempState } from "./support.ts";

test("R9 a checkpoint covers what was recorded just before it, also on a fresh start", async () => {
  using at = tempState();
  await using opened = await openBroker(at, {}, { tick: 60_000 });
  await opened.broker.note({ type: "server.stopped", actor: "system", facts: { server: "s", pid: 1 } });
  await opened.broker.checkpoint();
  expect(opened.broker.health().checkpoint).toMatchObject({ size: 1 });
});

test("R9 a checkpoint that a file did not take is tried again until it does, and is a fault until then", async () => {
  using at = tempState();
  const file = join(at.root, "elsewhere");
  const errors: string[] = [];
  const log = { ...silent, error: (message: string) => void errors.push(message) };
  await using opened = await openBroker(at, { checkpoints: [{ file }] }, { log });
  mkdirSync(file);
  await runCall(opened.broker);
  await opened.broker.checkpoint();
  expect(opened.broker.health().checkpointFault).toContain("EISDIR");
  const { durable } = opened.broker.health();
  await runCall(opened.broker);
  await until(() => opened.broker.durable() >= durable + 2, "the next records");
  await opened.broker.checkpoint();
  expect(opened.broker.health().checkpointFault).toContain("EISDIR");
  expect(errors).toEqual(["audit checkpoint not kept"]);
  rmSync(file, { recursive: true });
  await until(() => opened.broker.health().checkpointFault === null, "the retry");
  const { checkpoint } = opened.broker.health();
  expect(checkpoint?.source).toBe(file);
  expect(readFileSync(file, "utf8").split("\n")[1]).toBe(String(checkpoint?.size));
});
