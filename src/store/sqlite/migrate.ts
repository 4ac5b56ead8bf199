import type { Database } from "bun:sqlite";
import { existsSync, rmSync } from "node:fs";
import { draftOf, publish } from "../../core/files.ts";
import { StoreFailed } from "../../core/store.ts";
import { opened, type OpenOptions, openWritable, transaction, withStoreErrors } from "./database.ts";

/** Scripts that lead from one version of a schema to the next, the first from an empty database. */
export type Migrations = readonly string[];

/**
 * Opens a database for writing, creating it when it is missing, and brings it to the newest version. Where only the
 * file was deleted after a kill, its log is still there and would be played back into a database made whole; beside an
 * empty file, SQLite deletes it under its own locks.
 */
export function openMigrated(path: string, migrations: Migrations, options: OpenOptions): Database {
  if (!existsSync(path) && !existsSync(`${path}-wal`)) createWhole(path, migrations);
  return openNewest(path, migrations, options);
}

/**
 * Makes a database under another name, and gives it its own only once it has its tables: several desktop clients may
 * start several gateways on one state directory at the same moment.
 */
function createWhole(path: string, migrations: Migrations): void {
  const draft = draftOf(path);
  try {
    openNewest(draft, migrations, { wait: 0, synchronous: "full" }).close(true);
    publish(draft, path);
  } finally {
    for (const suffix of ["", "-wal", "-shm"]) rmSync(draft + suffix, { force: true });
  }
}

function openNewest(path: string, migrations: Migrations, options: OpenOptions): Database {
  return opened(openWritable(path, options), (db) => {
    migrate(db, migrations, path);
    return db;
  });
}

/** Brings a database to the newest version; throws `StoreFailed` for one that a newer mcpgw wrote. */
export function migrate(db: Database, migrations: Migrations, path: string): void {
  if (version(db, migrations, path) === migrations.length) return;
  transaction(db, () => {
    const from = version(db, migrations, path);
    for (const script of migrations.slice(from)) db.run(script);
    db.run(`PRAGMA user_version = ${migrations.length}`);
  });
}

/** Version of a database; throws `StoreFailed` when it is newer than `migrations`. */
export function version(db: Database, migrations: Migrations, path: string): number {
  const row = withStoreErrors(() => db.query<{ user_version: number }, []>("PRAGMA user_version").get());
  const found = row?.user_version ?? 0;
  if (found <= migrations.length) return found;
  throw new StoreFailed(
    `${path} has schema ${found}, this mcpgw knows ${migrations.length} at most; run the newer version that wrote it`,
  );
}
