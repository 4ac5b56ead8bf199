import { useInput, type Key } from "ink";

/** The text of a key, or the name of one that ink reports as a flag; in angles, as its letters can be pasted too. */
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

/** Most keys of one read: it may be a file that was pasted by mistake. */
const most = 200;

/**
 * The keys of one read. What is pasted, or comes over a slow line, has many and an Enter in one; what follows that was
 * meant for the filter too, so it is not taken for keys.
 */
function keysIn(input: string, key: Key): string[] {
  const name = nameOf(input, key);
  if (name !== input) return [name];
  const [text = "", ...rest] = name.split(/[\r\n]/, 2);
  return [...text.slice(0, most).split(""), ...rest.map(() => "<enter>")];
}

/** Tells each key that is pressed, also where one read has many. */
export function useKeys(pressed: (key: string) => void): void {
  useInput((input, key) => keysIn(input, key).forEach(pressed));
}
