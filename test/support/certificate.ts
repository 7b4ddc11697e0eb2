// SPDX-License-Identifier: Apache-2.0

import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'

/** Paths of a key and of the certificate, two days long, of a server at 127.0.0.1 that is its own authority. */
export function makeCertificate(dir: string): { readonly key: string; readonly cert: string } {
  mkdirSync(dir, { recursive: true })
  const [key, cert] = [`${dir}/key`, `${dir}/ca.crt`]
  const made = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key, '-out', cert]
  const says = ['-subj', '/CN=server', '-addext', 'subjectAltName=IP:127.0.0.1', '-days', '2']
  execFileSync('openssl', ['req', '-x509', ...made, ...says], { stdio: 'ignore' })
  return { key, cert }
}
