/** User-mode networking. Everything lies in two network namespaces that the test makes: a host, and a world behind it. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type Box, busyboxBox } from "../support/boxes.ts";
import { checkout, packageDirectory } from "../support/cli.ts";
import { type Background, background, command, must, type Outcome } from "../support/command.ts";
import { oldestKernel, userKinds } from "../support/users.ts";

const amRoot = process.getuid?.() === 0;

/**
 * Makes the two namespaces, then waits: 10.99.0.2 is the host, 10.99.0.1 the world with a name server and a greeter.
 * There, /dev/net/tun is open to everybody, as distributions have it.
 */
const WORLD = `
  ip link set lo up
  unshare --net sleep 600 & world=$!
  while [ "$(readlink /proc/$world/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
  ip link add near type veth peer name far netns $world
  ip address add 10.99.0.2/24 dev near
  ip link set near up
  nsenter --net=/proc/$world/ns/net sh -c 'ip link set lo up; ip address add 10.99.0.1/24 dev far; ip link set far up'
  ip route add default via 10.99.0.1
  mount --bind "$1/resolv.conf" /etc/resolv.conf
  mkdir "$1/devices" && mount -t tmpfs -o mode=755 tmpfs "$1/devices"
  mknod -m 666 "$1/devices/tun" c 10 200 && mount --bind "$1/devices/tun" /dev/net/tun
  nsenter --net=/proc/$world/ns/net python3 "$2" &
  echo ready
  read -r end
  kill $!; kill $world`;

// Subordinate ids make no difference here.
for (const kind of amRoot ? userKinds.filter((one) => one !== "subids") : []) {
  describe(`user-mode networking as ${kind}`, () => {
    let box: Box;
    let host: Background & { pid: number };
    before(async () => {
      box = await busyboxBox(kind);
      writeFileSync(join(box.scratch, "resolv.conf"), "search test\nnameserver 10.99.0.1\n");
      let said = "";
      const started = background(
        [
          "unshare",
          "--net",
          "--mount",
          "--propagation",
          "private",
          "sh",
          "-c",
          WORLD,
          "sh",
          box.scratch,
          join(checkout, "test/support/answers.py"),
        ],
        {
          keepInput: true,
          timeout: 600_000,
          onStart: (child) => child.stdout?.on("data", (chunk: Buffer) => (said += chunk)),
        },
      );
      for (let tries = 0; !said.includes("ready") && started.alive() && tries < 400; tries++) await sleep(50);
      assert.ok(said.includes("ready"), said);
      host = started;
    });
    after(async () => {
      host.closeInput();
      await host.ended;
      await box.remove();
    });

    /** Words that run on that host: as the user, or as root. */
    const onHost = (words: readonly string[]) => ["nsenter", `--target=${host.pid}`, "--net", "--mount", ...words];
    const rootling = (...words: string[]) =>
      onHost(box.user.words([join(packageDirectory(), "bin/rootling"), ...words]));
    const run = (words: readonly string[]): Promise<Outcome> =>
      command(rootling(...words), { env: box.user.env, cwd: box.user.home });
    const pastas = (): string[] =>
      readdirSync("/proc")
        .filter((pid) => /^[0-9]+$/.test(pid))
        .filter((pid) => {
          try {
            const words = readFileSync(`/proc/${pid}/cmdline`, "latin1");
            return (
              words.includes("/pasta\0") &&
              words.includes("--no-map-gw") &&
              statSync(`/proc/${pid}`).uid === box.user.uid &&
              readFileSync(`/proc/${pid}/environ`, "latin1").includes("LC_ALL=C")
            );
          } catch {
            return false;
          }
        });
    const gone = async (): Promise<boolean> => {
      for (let tries = 0; tries < 200; tries++) {
        if (pastas().length === 0) return true;
        await sleep(50);
      }
      return false;
    };
    const marks = () => readdirSync(join(box.user.env.ROOTLING_RUNTIME_PATH ?? "", "networks"));

    test("names are resolved and the world is reached; the host's loopback is not", async () => {
      const script = [
        "cat /etc/resolv.conf; nslookup -type=a name.test | grep -A1 Name: | tail -1",
        "sleep 1 | timeout 10 nc -w 5 10.99.0.1 7 || echo unreachable",
        "ls /sys/class/net | sort | tr '\\n' ' '; echo",
        `(for to in 127.0.0.1 10.99.0.1 10.99.0.2; do sleep 1 | timeout 2 nc -w 1 $to ${LOCAL}; done) 2>&1 | grep -c host-only`,
      ].join("; ");
      const listener = background(
        onHost(["busybox", "nc", "-ll", "-p", String(LOCAL), "-s", "127.0.0.1", "-e", "echo", "host-only"]),
      );
      const { stdout = "", stderr } = await run(["run", "--net=user", "busybox", "sh", "-c", script]);
      await listener.end("SIGKILL");
      assert.equal(stdout, "search test\nnameserver 10.99.0.1\nAddress: 10.99.0.9\nhello\nlo near \n0\n", stderr);
      assert.ok(await gone());
      assert.deepEqual(marks(), []);
    });

    test("published ports lead inside, TCP and UDP, on 127.0.0.1 alone", async (t) => {
      const ports = ["--publish", "18080:8080", "--publish", "127.0.0.1:15353:15353/udp"];
      const server = [
        "import socket, sys, threading",
        "tcp = socket.create_server(('0.0.0.0', 8080)); udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)",
        "udp.bind(('0.0.0.0', 15353)); print('ready', flush=True)",
        "def answer():",
        "  while True: udp.sendto(b'datagram\\n', udp.recvfrom(9)[1])",
        "def greet():",
        "  while True: peer = tcp.accept()[0]; peer.recv(1); peer.sendall(b'inside\\n'); peer.close()",
        "for work in answer, greet: threading.Thread(target=work, daemon=True).start()",
        "sys.stdin.read()",
      ].join("\n");
      const running = background(rootling("run", ...ports, "--pid", "host:", "python3", "-c", server), {
        env: box.user.env,
        keepInput: true,
      });
      t.after(() => running.end("SIGKILL"));
      const ask = (kind: "STREAM" | "DGRAM", address: string, port: number) => {
        const script = `import socket
s = socket.socket(socket.AF_INET, socket.SOCK_${kind}); s.settimeout(2)
s.connect(("${address}", ${port})); s.send(b"x"); print(s.recv(20).decode(), end="")`;
        return command(onHost(["python3", "-c", script]));
      };
      const asked = async (...words: Parameters<typeof ask>) => {
        for (let tries = 0; tries < 10; tries++) {
          const { stdout } = await ask(...words);
          if (stdout !== "") return stdout;
          await sleep(200);
        }
        return "";
      };
      assert.equal(await asked("STREAM", "127.0.0.1", 18_080), "inside\n");
      assert.equal(await asked("DGRAM", "127.0.0.1", 15_353), "datagram\n");
      assert.match((await ask("STREAM", "10.99.0.2", 18_080)).stderr, /refused/);
      const taken = await run(["run", "--publish", "18080:8080", "busybox", "true"]);
      assert.equal(taken.status, 125, taken.stderr);
      assert.match(taken.stderr, /--publish/);
      running.closeInput();
      assert.equal((await running.ended).stdout, "ready\n");
      assert.ok(await gone());
    });

    // What follows is about processes, and the same on every kernel.
    if (oldestKernel) return;

    test("a detached container is connected, until it is stopped", async () => {
      const words = [
        "start",
        "--detach",
        "--publish",
        "18081:8080",
        "box",
        "busybox",
        "nc",
        "-ll",
        "-p",
        "8080",
        "-e",
        "echo",
        "detached",
      ];
      const { status, stderr } = await run(words);
      assert.equal(status, 0, stderr);
      const client = `import socket
s = socket.create_connection(("127.0.0.1", 18081), 2); print(s.recv(20).decode(), end="")`;
      let said = "";
      for (let tries = 0; said === "" && tries < 10; tries++) {
        said = (await command(onHost(["python3", "-c", client]))).stdout;
        if (said === "") await sleep(200);
      }
      const stopped = await run(["stop", "--timeout", "1", "box"]);
      assert.equal(said, "detached\n");
      assert.equal(stopped.status, 0, stopped.stderr);
      assert.ok(await gone());
      assert.deepEqual(marks(), []);
    });

    test("nothing outlives a killed start", async () => {
      const start = () =>
        background(rootling("run", "--net=user", "busybox", "sh", "-c", "echo ready; cat"), {
          env: box.user.env,
          keepInput: true,
        });
      const started = async () => {
        const running = start();
        // It is several processes on its way.
        for (let tries = 0; (pastas().length !== 1 || marks().length !== 1) && tries < 400; tries++) await sleep(50);
        await sleep(200);
        assert.equal(pastas().length, 1);
        return running;
      };
      await (await started()).end("SIGKILL");
      assert.ok(await gone());
      // The guardian too: then the next command clears up.
      const running = await started();
      const [pasta = ""] = pastas();
      const guardian = Number(/\) \S ([0-9]+)/.exec(readFileSync(`/proc/${pasta}/stat`, "latin1"))?.[1]);
      process.kill(running.pid, "SIGSTOP");
      process.kill(guardian, "SIGKILL");
      await running.end("SIGKILL");
      await run(["run", "busybox", "true"]);
      assert.ok(await gone());
      assert.deepEqual(marks(), []);
    });

    test("what cannot be is refused", async () => {
      for (const [flags, code] of [
        [["--net=host", "--publish", "1:1"], "E_CONFLICT"],
        [["--publish", "x"], "E_USAGE"],
      ] as const) {
        assert.match((await run(["run", ...flags, "busybox", "true"])).stderr, new RegExp(code));
      }
      if (kind === "root") return;
      await must(onHost(["chmod", "600", "/dev/net/tun"]));
      const { status, stderr } = await run(["run", "--net=user", "busybox", "true"]);
      await must(onHost(["chmod", "666", "/dev/net/tun"]));
      assert.equal(status, 125);
      assert.match(stderr, /\/dev\/net\/tun is closed/);
      assert.ok(existsSync("/dev/net/tun"));
    });
  });
}

const LOCAL = 18_099;
