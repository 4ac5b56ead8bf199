type Suspend = (meanwhile: () => void) => Promise<void>;

/**
 * Lets the shell stop this process and continue it: the terminal is the shell's in between. `suspend` gives it away and
 * takes it back, drawn anew. Returns the way to end this.
 */
export function stoppable(suspend: Suspend): () => void {
  const onStop = (): void => void suspend(stop);
  // Stops as without a listener, and with it all processes of the shell's job. Where no shell could continue them the
  // kernel does nothing.
  const stop = (): void => {
    process.off("SIGTSTP", onStop);
    process.kill(0, "SIGTSTP");
    process.on("SIGTSTP", onStop);
  };
  // After SIGSTOP, of which nothing tells, the terminal is as the shell left it.
  const onContinue = (): void => {
    void suspend(() => {});
    // Only what runs in the foreground is told of another size.
    process.kill(process.pid, "SIGWINCH");
  };
  process.on("SIGTSTP", onStop);
  process.on("SIGCONT", onContinue);
  return () => {
    process.off("SIGTSTP", onStop);
    process.off("SIGCONT", onContinue);
  };
}
