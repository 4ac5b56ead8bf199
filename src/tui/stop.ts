type Suspend = (meanwhile: () => void) => Promise<void>;

/**
 * Lets the shell stop and continue this process, and leaves the terminal to the shell in between. `suspend` releases
 * the terminal, then takes it back and redraws. Returns a function that undoes this.
 */
export function stoppable(suspend: Suspend): () => void {
  const onStop = (): void => void suspend(stop);
  // Stops the whole job, as happens without a listener. If no shell could continue it, the kernel does nothing.
  const stop = (): void => {
    process.off("SIGTSTP", onStop);
    process.kill(0, "SIGTSTP");
    process.on("SIGTSTP", onStop);
  };
  // After SIGSTOP, which cannot be caught, the terminal is as the shell left it.
  const onContinue = (): void => {
    void suspend(() => {});
    // The terminal reports size changes only to the foreground job, so check the size now.
    process.kill(process.pid, "SIGWINCH");
  };
  process.on("SIGTSTP", onStop);
  process.on("SIGCONT", onContinue);
  return () => {
    process.off("SIGTSTP", onStop);
    process.off("SIGCONT", onContinue);
  };
}
