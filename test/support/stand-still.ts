/** Stops this whole process, timers included, for `ms` after `after` ms, as when a container is paused. */
export async function suspendProcess(ms: number, after = 0): Promise<void> {
  const { pid } = process;
  const script = `sleep ${after / 1000}; kill -STOP ${pid}; sleep ${ms / 1000}; kill -CONT ${pid}`;
  await Bun.spawn(["sh", "-c", script]).exited;
}
