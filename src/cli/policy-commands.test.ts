// SPDX-License-Identifier: Apache-2.0

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { runCli } from './main.ts'
import { podSvg } from './policy-picture.ts'

let folder: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'heddle-policy-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

function write(name: string, text: string): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

async function heddle(...argv: string[]): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  const stdout: string[] = []
  const stderr: string[] = []
  const exitCode = await runCli(argv, {
    print: (text) => stdout.push(text),
    warn: (text) => stderr.push(text),
    colour: false,
  })
  return { exitCode, stdout: stdout.join(''), stderr: stderr.join('\n') }
}

const manifests = `
{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: cart, labels: {app: cart}}, spec: {nodeName: n1}}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: web, labels: {app: web}}, spec: {nodeName: n2}, status: {podIPs: [{ip: 10.2.0.9}, {ip: fd00:2::9}]}}
---
{apiVersion: v1, kind: Node, metadata: {name: n2}, status: {addresses: [{type: InternalIP, address: 192.0.2.2}]}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: web}
spec: {podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {matchLabels: {app: cart}}}], ports: [{port: 80}]}]}
`

async function verdicts(...queries: readonly object[]) {
  const file = write('q.jsonl', queries.map((query) => JSON.stringify(query)).join('\n\n'))
  return heddle('policy', 'verdict', '--manifests', write('m.yaml', manifests), '--queries', file)
}

describe('heddle policy why', () => {
  const why = (...argv: string[]) =>
    heddle('policy', 'why', 'shop/web', '--manifests', write('m.yaml', manifests), ...argv)

  test('a table says who isolates and whom each rule admits', async () => {
    const { exitCode, stdout } = await why()
    expect(exitCode).toBe(0)
    expect(stdout).toMatchInlineSnapshot(`
      "Pod        shop/web
      Node       n2
      Addresses  10.2.0.9, fd00:2::9
      Ingress    only what the rules below admit: isolated by shop/web
      Egress     everything: no policy selects it

      RULE                 ACTION  PEERS                   PORTS   PODS NOW
      shop/web ingress[0]  Accept  pods(app=cart) in shop  TCP/80  shop/cart
      "
    `)
  })

  test('the same as a graph', async () => {
    expect((await why('--dot')).stdout).toMatchInlineSnapshot(`
      "digraph policy {
        rankdir=LR
        node [shape=box]
        "shop/web" [style=bold]
        "from: pods(app=cart) in shop" -> "shop/web" [label="TCP/80 (shop/web ingress[0])"]
        "shop/web" -> "to: everybody" [label="everything: no policy"]
      }
      "
    `)
  })

  test('the same as a picture, in which no text is markup', async () => {
    const { stdout } = await why('--svg')
    expect(stdout).toMatch(/^<svg [^<]*>/)
    expect(stdout).toContain('<title>TCP/80 (shop/web ingress[0])</title>')
    const svg = podSvg({
      pod: '</svg><script>"&',
      node: '',
      addresses: [],
      ingress: { isolatedBy: [], auditedBy: [], otherwise: 'allow', rules: [] },
      egress: { isolatedBy: ['a/b'], auditedBy: [], otherwise: 'allow', rules: [] },
    })
    expect(svg).toContain('&#60;/svg&#62;&#60;script&#62;&#34;&#38;')
    expect(svg).not.toContain('<script')
  })

  test('a pod that is not there: exit 2', async () => {
    const { exitCode, stderr } = await heddle('policy', 'why', 'shop/x', '--manifests', write('m.yaml', manifests))
    expect([exitCode, stderr]).toEqual([2, 'heddle: there is no pod shop/x; a pod is NS/POD'])
  })
})

describe('heddle policy verdict', () => {
  test('one line for each query, in order, with the rule that decided', async () => {
    const web = { pod: 'shop/web' }
    const { exitCode, stdout, stderr } = await verdicts(
      { from: { pod: 'shop/cart' }, to: web, port: 80 },
      { from: { pod: 'shop/cart' }, to: web, port: 80, family: 'IPv6', protocol: 'UDP' },
      { from: { node: 'n2' }, to: web, protocol: 'ICMP', type: 8 },
      { from: { ip: 'fd00:2::9' }, to: { ip: '2001:db8::1' }, port: 443 },
    )
    expect([exitCode, stderr]).toEqual([0, ''])
    expect(stdout).toBe(
      [
        '{"verdict":"allow","egress":"allow","ingress":"allow","egressRule":null,"ingressRule":"shop/web ingress[0]","rule":"shop/web ingress[0]"}',
        '{"verdict":"deny","egress":"allow","ingress":"deny","egressRule":null,"ingressRule":"shop/web","rule":"shop/web"}',
        '{"verdict":"allow","egress":"allow","ingress":"allow","egressRule":null,"ingressRule":null,"rule":null}',
        '{"verdict":"allow","egress":"allow","ingress":"allow","egressRule":null,"ingressRule":null,"rule":null}\n',
      ].join('\n'),
    )
  })

  test('the configuration of the nodes counts: audit for all, and namespaces that deny by default', async () => {
    const queries = write('q.jsonl', JSON.stringify({ from: { pod: 'shop/cart' }, to: { pod: 'shop/web' }, port: 81 }))
    const ask = (config: string) => {
      const file = write('config.yaml', config)
      const argv = ['--manifests', write('m.yaml', manifests), '--queries', queries, '--config', file]
      return heddle('policy', 'verdict', ...argv)
    }
    expect((await ask('policyAudit: true\n')).stdout).toBe(
      '{"verdict":"allow","egress":"allow","ingress":"allow","egressRule":null,"ingressRule":"shop/web","rule":"shop/web","audit":"shop/web"}\n',
    )
    expect((await ask('policyDefaultDeny: ["*"]\n')).stdout).toBe(
      '{"verdict":"deny","egress":"deny","ingress":"deny","egressRule":"default deny","ingressRule":"shop/web","rule":"default deny"}\n',
    )
    expect(await ask('policyDefaultDeny: all\n')).toMatchObject({
      exitCode: 2,
      stderr: expect.stringContaining('policyDefaultDeny must be a list of namespaces'),
    })
  })

  test.each([
    [{ from: { pod: 'shop/nobody' }, to: { pod: 'shop/web' }, port: 80 }, 'there is no pod shop/nobody'],
    [{ from: { node: 'n9' }, to: { pod: 'shop/web' }, port: 80 }, 'there is no node n9'],
    [{ from: { pod: 'shop/web' }, to: { pod: 'shop/web' } }, 'port: "undefined": not a port (1..65535)'],
    [{ from: {}, to: { pod: 'shop/web' }, port: 1 }, 'from: needs one of pod, ip, node'],
    [{ from: { node: 'n2' }, to: { pod: 'shop/web' }, port: 1, family: 'IPv6' }, 'no IPv6 address in common'],
    [{ from: { ip: '224.0.0.1' }, to: { pod: 'shop/web' }, port: 1 }, '224.0.0.1 is multicast'],
    [{ from: { pod: 'shop/web' }, to: { ip: '1.1.1.1' }, protocol: 'ICMP', port: 8 }, 'type: expected a whole number'],
  ])('%j is bad input, and nothing is answered', async (query, message) => {
    const good = { from: { pod: 'shop/cart' }, to: { pod: 'shop/web' }, port: 80 }
    const { exitCode, stdout, stderr } = await verdicts(good, query)
    expect([exitCode, stdout]).toEqual([2, ''])
    expect(stderr).toContain(message)
    expect(stderr).toContain('q.jsonl:3: ')
  })

  test('a malformed manifest names file, document and field', async () => {
    const path = write('bad.yaml', `${manifests}---\n{apiVersion: v1, kind: Pod, metadata: {name: 7}}\n`)
    const { exitCode, stdout, stderr } = await heddle(
      'policy',
      'verdict',
      '--manifests',
      path,
      '--queries',
      '/dev/null',
    )
    expect([exitCode, stdout]).toEqual([2, ''])
    expect(stderr).toMatch(/bad\.yaml:13: document 5: metadata\.name: expected a text, found number 7/)
  })
})
