/** Names whose values are secrets, wherever they stand: environment variables, headers, flags. */
export const secretName = /(key|token|secret|password|passwd|credential|authorization|cookie)$/i;
