import type { Database } from "bun:sqlite";
import { existsSync, rmSync } from "node:fs";
import { draftOf, publish } from "../../core/files.ts";
import { StoreFailed } from "../../core/store.ts";
import { opened, type OpenOptions, openWritable, transaction, withStoreErrors } from "./database.ts";

/** Scripts that migrate a schema from one version to the next; the first starts from an empty database. */
export type Migrations = readonly string[];

/**
 * Opens a database for writing, creating it if it is missing, and migrates it to the newest version. If only the
 * database file was deleted after a kill, its log still exists and would be replayed into a new database; next to an
 * empty file, SQLite deletes the log under its own locks.
 */
export function openMigrated(path: string, migrations: Migrations, options: OpenOptions): Database {
  if (!existsSync(path) && !existsSync(`${path}-wal`)) createWhole(path, migrations);
  return openNewest(path, migrations, options);
}

/** Creates a database under another name until it has its tables: several gateways may start at the same moment. */
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

/** Migrates a database to the newest version; throws `StoreFailed` if a newer mcpgw wrote it. */
export function migrate(db: Database, migrations: Migrations, path: string): void {
  if (version(db, migrations, path) === migrations.length) return;
  transaction(db, () => {
    const from = version(db, migrations, path);
    for (const script of migrations.slice(from)) db.run(script);
    db.run(`PRAGMA user_version = ${migrations.length}`);
  });
}

/** Returns the schema version of a database; throws `StoreFailed` if it is newer than `migrations`. */
export function version(db: Database, migrations: Migrations, path: string): number {
  const row = withStoreErrors(() => db.query<{ user_version: number }, []>("PRAGMA user_version").get());
  const found = row?.user_version ?? 0;
  if (found <= migrations.length) return found;
  throw new StoreFailed(
    `${path} has schema ${found}, but this mcpgw supports at most ${migrations.length}; run the newer version that wrote it`,
  );
}
