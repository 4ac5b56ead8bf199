import { expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { initConfig, initText } from "../../src/config/init.ts";
import { loadText } from "../support/config.ts";
import { mcpgwLine } from "../support/mcpgw.ts";
import { TempDir } from "../support/temp-dir.ts";
import { fill, canMount, mountTmpfs } from "../support/tmpfs.ts";

test.each([
  ["start", null],
  ["demo with npx", { npx: true }],
  ["demo without npx", { npx: false }],
] as const)("R21 the %s configuration loads without a warning", (_, demo) => {
  const { config, warnings } = loadText(initText(demo));
  expect(warnings).toEqual([]);
  expect(config.servers.map(({ id }) => id)).toEqual(demo?.npx ? ["calculator", "everything"] : ["calculator"]);
});

test("R21 init writes the file and its schema, and replaces neither without force", () => {
  using at = new TempDir();
  const file = at.path("sub", "gateway.yaml");
  const written = initConfig({ file, force: false, demo: null });
  expect(readFileSync(file, "utf8")).toBe(initText(null));
  expect(statSync(file).mode & 0o027).toBe(0);
  expect(JSON.parse(readFileSync(written.schema, "utf8"))).toMatchObject({ properties: { servers: {} } });

  const other = at.path("sub", "other.yaml");
  expect(initConfig({ file: other, force: false, demo: null })).toEqual({ file: other, schema: written.schema });
  writeFileSync(written.schema, "mine");
  const third = at.path("sub", "third.yaml");
  expect(() => initConfig({ file: third, force: false, demo: null })).toThrow("gateway.schema.json already exists");
  expect([existsSync(third), readFileSync(written.schema, "utf8")]).toEqual([false, "mine"]);
  initConfig({ file: third, force: true, demo: null });
  expect(readFileSync(written.schema, "utf8")).not.toBe("mine");

  writeFileSync(file, "mine");
  expect(() => initConfig({ file, force: false, demo: null })).toThrow("--force");
  expect(readFileSync(file, "utf8")).toBe("mine");
  initConfig({ file, force: true, demo: { npx: false } });
  expect(readFileSync(file, "utf8")).toBe(initText({ npx: false }));
});

test.each([false, true])("a path that is not a regular file is refused with its reason (force: %p)", (force) => {
  using at = new TempDir();
  for (const name of ["gateway.yaml", "gateway.schema.json"]) {
    const place = at.path(name.replace(".", "-"));
    mkdirSync(`${place}/${name}`, { recursive: true });
    const init = () => initConfig({ file: `${place}/gateway.yaml`, force, demo: null });
    expect(init).toThrow(`${name} already exists and is not a regular file; name another place with --config`);
    expect(readdirSync(place)).toEqual([name]);
  }
});

test("a failed write is reported with the user, the file and the reason", () => {
  using at = new TempDir();
  writeFileSync(at.path("file"), "");
  const file = at.path("file", "gateway.yaml");
  const why = `uid ${process.getuid?.()} cannot write ${file} (ENOTDIR); a component of that path is not a directory`;
  expect(() => initConfig({ file, force: false, demo: null })).toThrow(`${why}; name another with --config`);
});

test("a configuration that cannot be written completely is removed again", () => {
  using at = new TempDir();
  const file = at.path("gateway.yaml");
  // The unit is 512 bytes.
  const ran = Bun.spawnSync(["sh", "-c", `ulimit -f 2; exec ${mcpgwLine("init", "--config", file)}`]);
  expect([ran.exitCode, ran.stderr.toString()]).toEqual([1, expect.stringContaining(`cannot write ${file} (EFBIG); `)]);
  expect(readdirSync(at.path())).toEqual([]);
});

test.skipIf(!canMount())(
  "a full or read-only disk is reported as such, and no partial file stays (needs to mount)",
  () => {
    using disk = mountTmpfs("256k");
    if (!disk) throw new Error("nothing can be mounted any more");
    const file = `${disk.dir}/gateway.yaml`;
    const init = () => initConfig({ file, force: false, demo: null });
    fill(`${disk.dir}/full`);
    expect(init).toThrow(
      `cannot write ${file} (ENOSPC); the disk is full; free some space, or name another with --config`,
    );
    expect(readdirSync(disk.dir)).toEqual(["full"]);
    expect(Bun.spawnSync(["mount", "-o", "remount,ro", disk.dir]).exitCode).toBe(0);
    expect(init).toThrow(`cannot write ${file} (EROFS); the file system is read-only for this process`);
  },
);
