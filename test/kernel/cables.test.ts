/** Virtual cables, as root, on a host of the test's own. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { CableMap } from "../../src/boot/cable-map.ts";
import { type Box, busyboxBox, emptyBox } from "../support/boxes.ts";
import { type CabledHost, cabledHost } from "../support/cabled-host.ts";
import { background } from "../support/command.ts";
import { busyboxRoot } from "../support/images.ts";
import { makeSubhost } from "../support/subhosts.ts";
import { oldestKernel } from "../support/users.ts";

const amRoot = process.getuid?.() === 0;

/** Its own /24 behind the host, which translates it. */
const cableTo = (number: number, ...more: string[]) =>
  [`br7=`, `address=10.9.0.${number}/24`, "host=10.9.0.1/24", ...more].join(",");

describe("cables", { skip: !amRoot && "only root lays cables" }, () => {
  let box: Box;
  let host: CabledHost;
  before(async () => {
    box = oldestKernel ? await emptyBox("root") : await busyboxBox("root");
    host = await cabledHost(box);
    for (const name of oldestKernel ? [] : ["web", "db"]) await box.must(["create", "busybox", "--name", name]);
  });
  after(async () => {
    await host.end();
    await box.remove();
  });

  // What a test that failed has left would make the next ones fail, too.
  afterEach(() => host.rootling("stop", "--timeout", "0", "web", "db"));

  const start = async (name: string, words: string[], command: string[] = ["sleep", "600"]) => {
    const { status, stderr } = await host.rootling("start", "--detach", ...words, name, ...command);
    assert.equal(status, 0, stderr);
    return stderr;
  };
  const stop = async (...names: string[]) => {
    const { status, stderr } = await host.rootling("stop", "--timeout", "0", ...names);
    assert.equal(status, 0, stderr);
  };
  const inside = async (name: string, ...words: string[]) => {
    const { stdout, stderr } = await host.rootling("exec", name, ...words);
    return stdout.trim() || stderr.trim();
  };
  /** By root of the host, who may do in there what root inside may at most, and ping(8). */
  const within = (name: string, script: string) => host.sh(`ip netns exec ${name} busybox sh -c '${script}'`);
  const pings = (to: string) => `busybox ping -c 1 -W 1 ${to} >/dev/null 2>&1 && echo reached || echo lost`;
  const until = async (holds: () => Promise<boolean>) => {
    for (let tries = 0; tries < 100; tries++) {
      if (await holds()) return true;
      await sleep(50);
    }
    return false;
  };

  test("a VLAN hangs on the cable before it, where the kernel has such", async () => {
    const base = join(box.scratch, "base");
    await busyboxRoot(base);
    const { conf } = makeSubhost(box, "van", [`LOWER= ${base}`, "START= none", "CABLES= = =.302"]);
    const { status, stderr } = await host.rootling("boot", conf);
    if (!oldestKernel) {
      assert.match(stderr, /vlan van0\.302[\s\S]*E_CABLE[\s\S]*van\.conf:4[\s\S]*8021q/);
      assert.ok(await host.isClean());
      return;
    }
    assert.equal(status, 0, stderr);
    assert.match(await host.sh("ip -d link show van0.302"), /vlan protocol 802.1Q id 302/);
    assert.ok(host.calls().includes("ifup van0.302"));
    const tagged = [
      "ip address add 10.3.0.1/24 dev van0.302",
      "ip -n van link set eth0 up",
      "ip -n van link add link eth0 name eth0.302 type vlan id 302",
      "ip -n van address add 10.3.0.2/24 dev eth0.302",
      "ip -n van link set eth0.302 up",
    ];
    assert.equal(await host.sh([...tagged, pings("10.3.0.2")].join("; ")), "reached");
    await stop("van");
    assert.ok(await host.isClean());
  });

  // There, each start takes a second, and neither bridges nor nftables are loaded.
  if (oldestKernel) return;

  test("cables have names that ip(8) knows, and are gone after the stop", async () => {
    await host.sh("ip link add br0 type bridge && ip link set br0 up");
    await start("web", ["--cable", "br0=02:00:00:00:00:07", "--cable", "="]);
    assert.match(await host.sh("ip netns list"), /^web\b/);
    assert.match(await host.sh("ip -d link show web0"), /master br0 [\s\S]*alias rootling-[0-9]+-[0-9]+ web eth0/);
    assert.match(await host.sh("ip -n web link show eth0"), /02:00:00:00:00:07/);
    assert.match(await host.sh("ip -n web -o link show eth1"), /state DOWN/);
    assert.match(await host.sh("ip -o link show web1"), /[<,]UP[,>]/);
    const { cables, bridges } = JSON.parse((await host.rootling("network", "--json")).stdout) as CableMap;
    assert.deepEqual(
      cables.map(({ name, bridge, host: { interface: outer }, inside: end }) => [name, outer, bridge, end?.interface]),
      [
        ["web", "web0", "br0", "eth0"],
        ["web", "web1", null, "eth1"],
      ],
    );
    assert.equal(cables[0]?.inside?.mac, "02:00:00:00:00:07");
    assert.deepEqual(
      bridges.map(({ interface: name, onDemand }) => [name, onDemand]),
      [["br0", false]],
    );
    // The host's own configuration is asked about an end that has neither bridge nor address.
    assert.deepEqual(host.calls(), ["ifup web1"]);
    await stop("web");
    assert.deepEqual(host.calls(), ["ifup web1", "ifdown web1"]);
    await host.sh("ip link delete br0");
    assert.ok(await host.isClean());
  });

  test("an ifup that fails, a name that is taken, a bridge that is none", async () => {
    const attempt = await host.rootling("start", "--cable", "=", "db", "true");
    assert.equal(attempt.status, 0, attempt.stderr);
    assert.match(attempt.stderr, /ifup db0 ended with 1: unknown/);
    await host.sh("ip link add db0 type dummy 2>/dev/null || ip link add db0 type bridge");
    const clash = await host.rootling("start", "--cable", "=", "db", "true");
    assert.match(clash.stderr, /cable db0 cannot be made[\s\S]*E_CONFLICT/);
    await host.sh("ip link delete db0; touch /run/netns/db");
    const named = await host.rootling("start", "--cable", "=", "db", "true");
    assert.match(named.stderr, /netns db cannot be made[\s\S]*E_CONFLICT/);
    assert.equal(named.status, 125);
    assert.equal(await host.sh("rm /run/netns/db; ip -o link | grep -c db0 || true"), "0");
    assert.match(
      (await host.rootling("start", "--cable", "br9=", "db", "true")).stderr,
      /no bridge br9[\s\S]*E_NOT_FOUND/,
    );
    assert.match((await host.rootling("start", "--cable", "near=", "db", "true")).stderr, /E_CABLE[\s\S]*no bridge/);
    assert.ok(await host.isClean());
  });

  test("what was killed whole is cleared by the next command", async () => {
    await start("web", ["--cable", cableTo(2)]);
    const runs = join(box.user.env.ROOTLING_DATA_PATH ?? "", "containers/web/runs");
    const pids = readdirSync(runs).map((name) => Number.parseInt(name, 10));
    const payload = Number(
      readFileSync(join(runs, readdirSync(runs).find((name) => name.endsWith(".pid")) ?? ""), "utf8"),
    );
    for (const pid of new Set([...pids, payload])) process.kill(pid, "SIGKILL");
    assert.match(await host.sh("ip netns list; ls /sys/class/net"), /^web[\s\S]*br7/);
    const next = await host.rootling("run", "busybox", "true");
    assert.equal(next.status, 0, next.stderr);
    assert.ok(await host.isClean());
  });

  test("a bridge on demand, with translation, ports and a name server", async () => {
    const said = await start(
      "web",
      [
        // Ids of its own, and root of none of the machine's.
        "--map=0:100000:65536",
        ...["--cable", cableTo(2, "nat", "mtu=1400"), "--publish", "18080:8080", "--publish", "0.0.0.0:18081:8080"],
      ],
      ["busybox", "nc", "-ll", "-p", "8080", "-e", "echo", "web"],
    );
    assert.match(said, /net\.ipv4\.ip_forward/);
    await start("db", ["--isolate", "--cable", cableTo(3, "resolver=10.9.0.1")]);
    assert.equal(await within("db", pings("10.9.0.2")), "reached");
    // Only by the host's address: the world has no way back to the network of the bridge.
    assert.equal(await within("web", pings("10.99.0.1")), "reached");
    assert.equal(await inside("web", "cat", "/sys/class/net/eth0/mtu"), "1400");
    assert.equal(await inside("db", "cat", "/etc/resolv.conf"), "nameserver 10.9.0.1");
    const ask = (address: string, port: number) =>
      `sleep 0.5 | timeout 5 busybox nc -w 2 ${address} ${port} || echo refused`;
    assert.ok(await until(async () => (await host.sh(ask("127.0.0.1", 18_080))) === "web"));
    assert.equal(await host.world(ask("10.99.0.2", 18_081)), "web");
    assert.equal(await host.world(ask("10.99.0.2", 18_080)), "refused");
    assert.equal(await inside("db", "sh", "-c", ask("10.9.0.1", 18_081)), "web");
    await stop("web");
    assert.match(await host.sh("ip -o link show master br7"), /db0/);
    await host.sh("ip link delete br7");
    await stop("db");
    assert.ok(await host.isClean());
  });

  test("nobody inside speaks for another address, nor reaches the host's loopback", async () => {
    const root = ["--cable", cableTo(2, "antispoof")];
    await start("db", ["--cable", cableTo(3)]);
    await start("web", [...root, "--publish", "18080:8080"]);
    assert.equal(await within("web", pings("10.9.0.3")), "reached");
    const listener = background(
      host.there(["busybox", "nc", "-ll", "-p", "18099", "-s", "127.0.0.1", "-e", "echo", "host-only"]),
    );
    const knock = [
      "ip addr flush dev lo",
      "ip route add table 7 127.0.0.0/8 via 10.9.0.1",
      "ip rule add pref 5 table 7",
      "echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet",
      "for to in 127.0.0.1 10.9.0.1; do sleep 0.3 | timeout 2 nc -w 1 $to 18099; done 2>&1 | grep -c host-only || true",
      "ip rule del pref 5",
    ];
    assert.equal(await within("web", knock.join("; ")), "0");
    const change = "ip addr del 10.9.0.2/24 dev eth0; ip addr add 10.9.0.9/24 dev eth0";
    assert.equal(await within("web", `${change}; ${pings("10.9.0.3")}`), "lost");
    const back = "ip addr del 10.9.0.9/24 dev eth0; ip addr add 10.9.0.2/24 dev eth0";
    assert.equal(await within("web", `${back}; ${pings("10.9.0.3")}`), "reached");
    const mac = "ip link set eth0 down; ip link set eth0 address 02:00:00:00:00:99; ip link set eth0 up";
    assert.equal(await within("web", `${mac}; ${pings("10.9.0.3")}`), "lost");
    await listener.end("SIGKILL");
    await stop("web", "db");
    assert.ok(await host.isClean());
  });
});
