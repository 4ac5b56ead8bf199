/** What passes between the gateway and its clients beside calls; one of a process, feeds metrics only. */
export class Traffic {
  /** Event streams that are open. */
  streams = 0;
  /** Requests to clients that wait for an answer. */
  asked = 0;
  /** Notifications that a client was too slow to take. */
  lost = 0;
  /** Answers of clients to nothing that they were asked. */
  stray = 0;
}
