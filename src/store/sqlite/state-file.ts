import { onFile, openOnFile } from "./named.ts";

const remedy =
  "restore a backup of the file or move the file away, its -wal and -shm away in either case: a start takes " +
  "revocations, a freeze and usage from the log; keys that the backup lacks, or all, must be made anew";

/** Runs what reads or writes `mcpgw.db`: failures name the file, and what helps where it is damaged. */
export const onState = <T>(path: string, work: () => T): T => onFile(path, remedy, work);

/** Opens a store in `mcpgw.db`, each of whose operations runs `onState`. */
export const openOnState = <Store extends object>(path: string, open: () => Store): Store =>
  openOnFile(path, remedy, open);
