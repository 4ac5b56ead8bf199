/**
 * The findings of an audit log check and their exit codes, from best to worst: proven against a checkpoint; intact, but
 * unproven or with doubtful evidence; not readable to its end; tampered with.
 */
export const verifyExit = { proven: 0, unproven: 3, unreadable: 2, tampered: 1 } as const;
export type VerifyExit = (typeof verifyExit)[keyof typeof verifyExit];
