import { onFile, openOnFile } from "./named.ts";

const remedy =
  "restore a backup of the file or move the file away, and move its -wal and -shm away in either case: the next start " +
  "takes revocations, a freeze and usage from the log; keys that the backup lacks, or all keys, must be created again";

/** Runs `work` on `mcpgw.db`; failures name the file, and the remedy if it is damaged. */
export const onState = <T>(path: string, work: () => T): T => onFile(path, remedy, work);

/** Opens a store in `mcpgw.db` and runs each of its operations through `onState`. */
export const openOnState = <Store extends object>(path: string, open: () => Store): Store =>
  openOnFile(path, remedy, open);
