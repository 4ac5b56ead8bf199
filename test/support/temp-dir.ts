import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** An empty directory that is removed with its contents when it is disposed. */
export class TempDir implements Disposable {
  readonly dir = mkdtempSync(join(tmpdir(), "mcpgw-test-"));

  path(...names: string[]): string {
    return join(this.dir, ...names);
  }

  [Symbol.dispose](): void {
    rmSync(this.dir, { recursive: true, force: true });
  }
}
