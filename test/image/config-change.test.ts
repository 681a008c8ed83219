/** Changes of an image's configuration, in the words of a Dockerfile. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { changed } from "../../src/image/config-change.ts";
import { failsWith } from "../support/image-support.ts";

const after = (...instructions: string[]) => instructions.reduce(changed, { Env: ["A=b"], Cmd: ["old"] });

test("instructions change what they name, and nothing else", () => {
  assert.deepEqual(after('CMD ["tool", "a b"]'), { Env: ["A=b"], Cmd: ["tool", "a b"] });
  assert.deepEqual(after("cmd tool a"), { Env: ["A=b"], Cmd: ["/bin/sh", "-c", "tool a"] });
  assert.deepEqual(after("ENV A=c d", 'ENV B="x y"').Env, ["A=c d", "B=x y"]);
  const entered = after('ENTRYPOINT ["/start"]');
  assert.deepEqual([entered.Entrypoint, entered.Cmd], [["/start"], undefined]);
  const more = after("LABEL a.b=1", "LABEL c=2", "EXPOSE 80", "EXPOSE 53/udp", "VOLUME /data", "USER me:us");
  assert.deepEqual(more.Labels, { "a.b": "1", c: "2" });
  assert.deepEqual(more.ExposedPorts, { "80/tcp": {}, "53/udp": {} });
  assert.deepEqual([more.Volumes, more.User], [{ "/data": {} }, "me:us"]);
  assert.deepEqual(after("WORKDIR /srv", "STOPSIGNAL SIGINT").WorkingDir, "/srv");
});

test("what is no instruction is refused", () => {
  for (const text of [
    "",
    "CMD",
    "RUN x",
    "constructor x",
    "CMD [1]",
    "CMD [",
    "ENV A",
    "ENV =b",
    "LABEL x",
    "EXPOSE a",
    "USER a\0b",
  ]) {
    assert.throws(() => changed({}, text), failsWith("E_USAGE"), text);
  }
});
