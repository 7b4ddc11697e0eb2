// SPDX-License-Identifier: Apache-2.0
// One guest: a kernel, an initramfs, the host's root file system read-only, and what it writes to its serial console.

import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

/** Every line of the guest's console until it switched itself off. Throws when it did not within the time. */
export async function runGuest(
  kernel: string,
  initramfs: Buffer,
  timeoutMs: number,
  onLine: (line: string) => void,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'heddle-qemu-'))
  try {
    const initrd = join(folder, 'initramfs')
    writeFileSync(initrd, initramfs)
    const guest = spawn('qemu-system-x86_64', arguments_(kernel, initrd), { stdio: ['ignore', 'pipe', 'inherit'] })
    const ended = new Promise<void>((resolve, reject) => {
      guest.on('error', reject)
      guest.on('exit', (code, signal) =>
        code === 0 ? resolve() : reject(new Error(`the guest ended with ${signal ?? code}`)),
      )
    })
    ended.catch(() => {})
    const timer = setTimeout(() => guest.kill('SIGKILL'), timeoutMs)
    for await (const line of createInterface({ input: guest.stdout })) onLine(line)
    clearTimeout(timer)
    await ended
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** Emulation, never KVM: a guest does not start on every machine that has /dev/kvm, and one way is enough. */
function arguments_(kernel: string, initrd: string): readonly string[] {
  return [
    ...['-accel', 'tcg', '-cpu', 'max', '-smp', '2', '-m', '3072', '-nographic', '-no-reboot', '-nodefaults'],
    ...['-serial', 'stdio', '-kernel', kernel, '-initrd', initrd, '-append', 'console=ttyS0 quiet panic=-1'],
    ...['-virtfs', 'local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap'],
  ]
}
