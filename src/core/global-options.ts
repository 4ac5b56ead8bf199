/** The flags that every command takes, as they were given; what is missing comes from environment, file or default. */
export type GlobalOptions = {
  readonly config?: string | undefined;
  readonly state?: string | undefined;
  readonly socket?: string | undefined;
  readonly json: boolean;
  /** Whether output may be coloured. */
  readonly color: boolean;
};
