/** Capabilities by name and as the masks that the kernel takes (capabilities(7), linux/capability.h). */

/** In the order of their numbers. */
const NAMES = [
  ...["chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap"],
  ...["linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner"],
  ...["sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice"],
  ...["sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write", "audit_control", "setfcap"],
  ...["mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf"],
  "checkpoint_restore",
];

/** A set of capabilities: bit N is capability number N. */
export type CapabilitySet = bigint;

export const NONE: CapabilitySet = 0n;
export const EVERY: CapabilitySet = 0xffffffffffffffffn;

/** The name as it is compared: `CAP_SYS_ADMIN` and `sys_admin` are one. Undefined for what is no capability. */
export function capabilityName(text: string): string | undefined {
  const name = text.toLowerCase().replace(/^cap_/, "");
  return name === "all" || NAMES.includes(name) ? name : undefined;
}

/** The set of a name that capabilityName gave. */
export const capabilitySet = (name: string): CapabilitySet =>
  name === "all" ? EVERY : 1n << BigInt(NAMES.indexOf(name));

/** As op `capabilities` takes it. */
export const asMask = (set: CapabilitySet): string => set.toString(16);

export const fromMask = (mask: string): CapabilitySet => BigInt(`0x${mask}`);
