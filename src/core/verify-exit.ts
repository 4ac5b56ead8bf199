/**
 * What a check of the audit log finds, from best to worst, and the exit code for it: proven against a checkpoint;
 * intact, but nothing proves it or the evidence leaves a doubt; not readable to its end; tampered with.
 */
export const verifyExit = { proven: 0, unproven: 3, unreadable: 2, tampered: 1 } as const;
export type VerifyExit = (typeof verifyExit)[keyof typeof verifyExit];
