// SPDX-License-Identifier: Apache-2.0
// The first file system of a guest: busybox, the modules it needs in the order in which they load, and init.

import { execFileSync } from 'node:child_process'
import { chmodSync, copyFileSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'

/** What the guest's root file system, devices and sockets need; a name that is built into a kernel has no file. */
const wanted = [
  ...['virtio_pci', '9pnet_virtio', '9p', 'overlay'],
  ...['veth', 'bridge', 'vxlan', 'sch_ingress', 'cls_bpf', 'tcp_diag', 'udp_diag'],
]

const init = `#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
for module in $(cat /modules/order); do insmod /modules/$module || echo "insmod $module failed"; done
mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=1048576 host /host
mount -t tmpfs tmpfs /over
mkdir /over/upper /over/work
mount -t overlay -o lowerdir=/host,upperdir=/over/upper,workdir=/over/work overlay /root
cd /root
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t devtmpfs dev dev
for folder in tmp run; do mount -t tmpfs tmpfs $folder; done
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t bpf bpf sys/fs/bpf
ip link set lo up
chroot /root /bin/sh -c "$(cat /command)"
echo "guest ended with $?"
poweroff -f
`

/** A newc archive for this kernel; `command` runs in a writable overlay of the host's root, read-only below. */
export function buildInitramfs(modules: string, command: string): Buffer {
  const root = mkdtempSync(join(tmpdir(), 'heddle-initramfs-'))
  try {
    for (const folder of ['bin', 'proc', 'dev', 'host', 'over', 'root', 'modules']) mkdirSync(join(root, folder))
    copyFileSync('/bin/busybox', join(root, 'bin/busybox'))
    const order = copyModules(modules, join(root, 'modules'))
    writeFileSync(join(root, 'modules/order'), order.join('\n'))
    writeFileSync(join(root, 'command'), command)
    writeFileSync(join(root, 'init'), init)
    chmodSync(join(root, 'init'), 0o755)
    const archive = 'find . | busybox cpio -o -H newc 2>/dev/null'
    return execFileSync('sh', ['-c', archive], { cwd: root, maxBuffer: 1 << 28 })
  } finally {
    rmSync(root, { recursive: true })
  }
}

/** Copies the wanted modules and all they depend on, uncompressed; their file names, dependencies first. */
function copyModules(modules: string, target: string): readonly string[] {
  const files = new Map(
    globSync('kernel/**/*.ko{,.xz}', { cwd: modules }).map((path) => [moduleName(path), join(modules, path)]),
  )
  const order: string[] = []
  const add = (name: string): void => {
    const path = files.get(name)
    const file = `${name}.ko`
    if (path === undefined || order.includes(file)) return
    const bytes = path.endsWith('.xz') ? execFileSync('xz', ['-dc', path], { maxBuffer: 1 << 28 }) : readFileSync(path)
    for (const dependency of dependencies(bytes)) add(dependency)
    writeFileSync(join(target, file), bytes)
    order.push(file)
  }
  for (const name of wanted) add(name)
  return order
}

/** Names of modules are written with dashes or underscores; files, dependencies and the kernel disagree. */
function moduleName(path: string): string {
  return basename(path)
    .replace(/\.ko(\.xz)?$/, '')
    .replaceAll('-', '_')
}

/** The depends= line of the module's .modinfo section. */
function dependencies(bytes: Buffer): readonly string[] {
  const text = /\0depends=([^\0]*)\0/.exec(bytes.toString('latin1'))?.[1] ?? ''
  return text === '' ? [] : text.split(',').map(moduleName)
}
