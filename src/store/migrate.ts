import type { Database } from "bun:sqlite";
import { StoreFailed } from "../core/store.ts";
import { guarded, transaction } from "./sqlite/database.ts";

/** Scripts that lead from one version of a schema to the next, the first from an empty database. */
export type Migrations = readonly string[];

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
  const row = guarded(() => db.query<{ user_version: number }, []>("PRAGMA user_version").get());
  const found = row?.user_version ?? 0;
  if (found <= migrations.length) return found;
  throw new StoreFailed(
    `${path} has schema ${found}, this mcpgw knows ${migrations.length} at most; run the newer version that wrote it`,
  );
}
