import type { Migrations } from "./migrate.ts";

/**
 * One chain. Queries use a view of the hashed text, which therefore cannot differ from it. Generated columns are not
 * used, because in a strict table SQLite computes even virtual ones for each insert and each integrity check. There is
 * no secondary index: five of them would cost three quarters of the write rate. A payload is stored in its record's
 * row, outside of the hashed text: a row of its own would double the cost, and it can be erased here just as well.
 */
export const auditSchema: Migrations = [
  `CREATE TABLE audit(seq INTEGER PRIMARY KEY, rec TEXT NOT NULL, leaf BLOB NOT NULL,
     part TEXT, salt BLOB, body TEXT) STRICT;
   CREATE VIEW record AS SELECT seq, rec, leaf, rec->>'$.type' AS type, rec->>'$.caller' AS caller,
     rec->>'$.consumer' AS consumer, rec->>'$.srv' AS srv, rec->>'$.tool' AS tool, rec->>'$.st' AS st,
     rec->>'$.t' AS t, rec->>'$.call' AS call FROM audit;
   CREATE VIEW payload AS SELECT seq, part, salt, body FROM audit WHERE part IS NOT NULL;
   CREATE TABLE subject(id TEXT PRIMARY KEY, salt BLOB, value TEXT) STRICT;
   CREATE TABLE anchor(size INTEGER PRIMARY KEY, note TEXT NOT NULL, frontier BLOB NOT NULL,
     settled INTEGER NOT NULL) STRICT;`,
];

/** `mcpgw.db`: everything persistent except the chains. */
export const stateSchema: Migrations = [
  `CREATE TABLE api_key(id TEXT PRIMARY KEY, hash TEXT NOT NULL UNIQUE, body TEXT NOT NULL, revoked_at INTEGER) STRICT;
   CREATE TABLE tombstone(id TEXT PRIMARY KEY, at INTEGER NOT NULL) STRICT;
   CREATE TABLE flag(name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
   CREATE TABLE listing(server TEXT PRIMARY KEY, options TEXT NOT NULL, era TEXT NOT NULL, tools TEXT NOT NULL,
     rest TEXT NOT NULL) STRICT;
   CREATE TABLE era(server TEXT PRIMARY KEY, options TEXT NOT NULL, speaks TEXT NOT NULL, at INTEGER NOT NULL) STRICT;
   CREATE TABLE usage(consumer TEXT, server TEXT, tool TEXT, hour INTEGER, calls INTEGER NOT NULL,
     errors INTEGER NOT NULL, denied INTEGER NOT NULL, latency_us INTEGER NOT NULL, bytes_in INTEGER NOT NULL,
     bytes_out INTEGER NOT NULL, PRIMARY KEY(consumer, hour, server, tool)) STRICT, WITHOUT ROWID;
   CREATE TABLE usage_mark(chain TEXT PRIMARY KEY, seq INTEGER NOT NULL) STRICT;`,
];

/** The tables of `index.db`; whenever they change, they are rebuilt from the chains. */
const index = `DROP TABLE IF EXISTS entry; DROP TABLE IF EXISTS mark;
   CREATE TABLE entry(chain TEXT, seq INTEGER, consumer TEXT, srv TEXT, tool TEXT, st TEXT, type TEXT, at INTEGER,
     PRIMARY KEY(chain, seq)) STRICT, WITHOUT ROWID;
   CREATE INDEX entry_consumer ON entry(chain, consumer, seq);
   CREATE INDEX entry_tool ON entry(chain, srv, tool, seq);
   CREATE INDEX entry_st ON entry(chain, st, seq) WHERE st <> 'ok';
   CREATE TABLE mark(chain TEXT PRIMARY KEY, seq INTEGER NOT NULL, leaf BLOB NOT NULL) STRICT;`;

/** `index.db`: finds records fast. It may be deleted at any time, and verification never reads it. */
export const indexSchema: Migrations = [index, index, index];
