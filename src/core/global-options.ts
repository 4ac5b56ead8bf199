/** The flags that every command takes, as given; absent ones come from environment, file or default. */
export type GlobalOptions = {
  readonly config?: string | undefined;
  readonly state?: string | undefined;
  readonly socket?: string | undefined;
  readonly json: boolean;
  readonly color: boolean;
};
