/** A model of a terminal that shows a program's output; it understands what ink and our screens send. */
export type Screen = {
  write(output: string): void;
  resize(cols: number, rows: number): void;
  /** Returns the lines without trailing blanks. */
  text(): string;
  /** Whether the program is on the alternate screen. */
  readonly alternate: boolean;
  /** Whether the cursor is visible. */
  readonly cursor: boolean;
  /** Whether the program has ever set a color. */
  readonly colored: boolean;
  /** Returns all text ever written in this color (its SGR number), each stretch on its own line. */
  painted(color: number): string;
};

// A CSI with parameters and final byte, any other two-character escape, a line end, or one character.
const token = /^(?:\u001b\[([?<=>]?)([\d;]*)([@-~])|\u001b([^[])|(\r|\n)|([^\u001b\r\n]))/u;

export function createScreen(cols: number, rows: number): Screen {
  let size = { cols, rows };
  let cells: string[][] = Array.from({ length: rows }, () => []);
  let at = { x: 0, y: 0 };
  let rest = "";
  let alternate = false;
  let cursor = true;
  let color = 39;
  const painted = new Map<number, string>();

  const line = (y: number): string[] => (cells[y] ??= []);
  const down = (): void => {
    if (at.y < size.rows - 1) at.y++;
    else cells = [...cells.slice(1), []];
  };
  const put = (char: string): void => {
    const width = Bun.stringWidth(char);
    if (at.x + width > size.cols) {
      at.x = 0;
      down();
    }
    painted.set(color, (painted.get(color) ?? "") + char);
    const row = line(at.y);
    while (row.length < at.x) row.push(" ");
    row[at.x] = char;
    for (let extra = 1; extra < width; extra++) row[at.x + extra] = "";
    at.x += width;
  };
  const finals: Record<string, (numbers: number[]) => void> = {
    A: ([n = 1]) => (at.y = Math.max(0, at.y - Math.max(1, n))),
    B: ([n = 1]) => (at.y = Math.min(size.rows - 1, at.y + Math.max(1, n))),
    C: ([n = 1]) => (at.x += Math.max(1, n)),
    D: ([n = 1]) => (at.x = Math.max(0, at.x - Math.max(1, n))),
    E: ([n = 1]) => (at = { x: 0, y: Math.min(size.rows - 1, at.y + Math.max(1, n)) }),
    F: ([n = 1]) => (at = { x: 0, y: Math.max(0, at.y - Math.max(1, n)) }),
    G: ([n = 1]) => (at.x = Math.max(0, n - 1)),
    H: ([y = 1, x = 1]) => (at = { x: Math.max(0, x - 1), y: Math.max(0, y - 1) }),
    J([n = 0]) {
      if (n >= 2) cells = [];
      else {
        line(at.y).length = Math.min(line(at.y).length, at.x);
        cells.length = at.y + 1;
      }
    },
    K: ([n = 0]) => (line(at.y).length = n === 2 ? 0 : Math.min(line(at.y).length, at.x)),
    m(numbers) {
      painted.set(color, `${painted.get(color) ?? ""}\n`);
      color =
        numbers.findLast((n) => n >= 30 && n !== 49) ?? (numbers.length === 0 || numbers.includes(0) ? 39 : color);
      painted.set(color, painted.get(color) ?? "");
    },
  };
  const mode = (numbers: number[], final: string): void => {
    if (numbers.includes(25)) cursor = final === "h";
    if (!numbers.includes(1049)) return;
    alternate = final === "h";
    cells = [];
    at = { x: 0, y: 0 };
  };

  return {
    write(output) {
      rest += output;
      for (let found = token.exec(rest); found; found = token.exec(rest)) {
        rest = rest.slice(found[0].length);
        const [, prefix, parameters = "", final, other, end, char] = found;
        const numbers = parameters.split(";").filter(Boolean).map(Number);
        if (char !== undefined) put(char);
        else if (end === "\r") at.x = 0;
        else if (end === "\n") down();
        else if (prefix) mode(numbers, final ?? "");
        else if (final) {
          const act = finals[final];
          if (!act) throw new Error(`unknown sequence ${JSON.stringify(found[0])}`);
          act(numbers);
        } else if (other === undefined) throw new Error(`unknown output ${JSON.stringify(rest.slice(0, 20))}`);
      }
    },
    resize(newCols, newRows) {
      size = { cols: newCols, rows: newRows };
    },
    text() {
      const lines = Array.from({ length: size.rows }, (_, y) =>
        (cells[y] ?? [])
          .map((cell) => cell ?? " ")
          .join("")
          .trimEnd(),
      );
      return `${lines.join("\n").trimEnd()}\n`;
    },
    get alternate() {
      return alternate;
    },
    get cursor() {
      return cursor;
    },
    get colored() {
      return [...painted.keys()].some((one) => one !== 39);
    },
    painted: (one) => painted.get(one) ?? "",
  };
}
