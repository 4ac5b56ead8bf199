import { expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { loadConfig } from "../../src/config/load.ts";
import { ConfigError } from "../../src/config/problem.ts";
import { loadingFrom } from "../../src/daemon/loading.ts";
import { TempDir } from "../support/temp-dir.ts";

test("a command that includes arguments is an error, but a program name with spaces is not", () => {
  using at = new TempDir();
  mkdirSync(at.path("My Tools"));
  for (const name of ["run", "My Tools/run", "my run"]) writeFileSync(at.path(name), "#!/bin/sh\n", { mode: 0o700 });
  const wrong = ["sh -c true", " sh ./run", "./run --quiet", "no-such-program -y", "'My Tools/run'"];
  const right = ["sh", "no-such-program", "./run", "./My Tools/run", at.path("my run"), "/not/on this/machine"];
  /** Returns the commands that are errors; each has this `env` and `cwd`. */
  const refused = (commands: readonly string[], more = {}): (string | undefined)[] => {
    const servers = commands.map((command, index) => ({ id: `s${index}`, command, ...more }));
    writeFileSync(at.path("gateway.yaml"), JSON.stringify({ servers }));
    try {
      loadConfig(at.path("gateway.yaml"), loadingFrom(at.dir, {}));
      return [];
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      return error.problems.map(({ path, message }) => {
        expect(message).toContain("write its arguments separately: command: ");
        return commands[Number(/\d+/.exec(path)?.[0])];
      });
    }
  };
  expect(refused([...wrong, ...right])).toEqual(wrong);
  expect(refused(["my run"], { env: { PATH: at.dir } })).toEqual([]);
  expect(refused(["./run"], { cwd: "My Tools" })).toEqual([]);
});
