import { afterEach, expect, setSystemTime, test } from "bun:test";
import { uptimeGauge } from "../../src/daemon/gauges.ts";

afterEach(() => void setSystemTime());

test("T09: the uptime does not follow wall clock changes", () => {
  const uptime = uptimeGauge();
  for (const at of ["2001-01-01", "2101-01-01"]) {
    setSystemTime(new Date(at));
    expect(uptime.read()).toBeWithin(0, 3_600);
  }
});
