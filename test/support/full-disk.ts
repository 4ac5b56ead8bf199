import { Database } from "bun:sqlite";

/** Makes each write of this kind, e.g. `INSERT ON audit`, fail as on a full disk, until it is freed or disposed. */
export function fullDisk(file: string, write: string): Disposable & { free(): void } {
  const db = new Database(file);
  // Others may be writing at the moment it is freed.
  db.run("PRAGMA busy_timeout = 5000");
  db.run(`CREATE TRIGGER full BEFORE ${write} BEGIN SELECT raise(ABORT, 'disk full'); END`);
  const free = (): void => void db.run("DROP TRIGGER IF EXISTS full");
  return {
    free,
    [Symbol.dispose]() {
      free();
      db.close(true);
    },
  };
}
