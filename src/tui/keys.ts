import { useInput, type Key } from "ink";

/** Returns a key's text, or its name if ink reports a flag, in angle brackets because plain letters may be pasted. */
const nameOf = (input: string, key: Key): string => {
  const flags: [boolean, string][] = [
    [key.upArrow, "<up>"],
    [key.downArrow, "<down>"],
    [key.pageUp, "<pageup>"],
    [key.pageDown, "<pagedown>"],
    [key.return, "<enter>"],
    [key.escape, "<escape>"],
    [key.tab, "<tab>"],
    [key.backspace || key.delete, "<backspace>"],
    [key.ctrl && input === "z", "<stop>"],
  ];
  return flags.find(([on]) => on)?.[1] ?? (key.ctrl || key.meta ? "" : input);
};

/** Maximum number of keys per read, since a file may be pasted by mistake. */
const most = 200;

/**
 * Returns the keys of one read. Pasted text, or input over a slow line, has many keys and perhaps an Enter in one read.
 * Text after the Enter was meant for the filter, so it is dropped.
 */
function keysIn(input: string, key: Key): string[] {
  const name = nameOf(input, key);
  if (name !== input) return [name];
  const [text = "", ...rest] = name.split(/[\r\n]/, 2);
  return [...text.slice(0, most).split(""), ...rest.map(() => "<enter>")];
}

/** Calls `pressed` for each key, even if one read has many. */
export function useKeys(pressed: (key: string) => void): void {
  useInput((input, key) => keysIn(input, key).forEach(pressed));
}
