// SPDX-License-Identifier: Apache-2.0

import { expect, test } from 'vitest'
import { attachment } from '../../test/support/ipam.ts'
import type { Address } from '../core/address.ts'
import type { CniVersion } from './protocol.ts'
import { attachmentResult, type CniResult, formatResult, parseResult } from './results.ts'

const wired = { ifindex: 7, hostMac: '02:00:00:00:00:01', podMac: '02:00:00:00:00:02', mtu: 1450, netnsCookie: 7n }
const pod = { ...attachment('c1', ['10.1.0.5' as Address, 'fd00::5' as Address]), wired }
const gateways = ['169.254.1.1', 'fe80::1']

/** The output, one member in a line. */
function lines(version: CniVersion, previous: CniResult | null, dns: Record<string, unknown> | null = null) {
  const result = JSON.parse(formatResult(version, attachmentResult(pod, gateways, previous, dns)))
  return Object.entries(result).flatMap(([key, value]) =>
    (Array.isArray(value) ? value : [value]).map((entry) => `${key}: ${JSON.stringify(entry)}`),
  )
}

test('0.3.1: every address says its IP version, no interface its MTU', () => {
  expect(lines('0.3.1', null)).toEqual([
    'cniVersion: "0.3.1"',
    'interfaces: {"name":"hdc1","mac":"02:00:00:00:00:01"}',
    'interfaces: {"name":"eth0","mac":"02:00:00:00:00:02","sandbox":"/run/netns/c1"}',
    'ips: {"version":"4","address":"10.1.0.5/32","gateway":"169.254.1.1","interface":1}',
    'ips: {"version":"6","address":"fd00::5/128","gateway":"fe80::1","interface":1}',
    'routes: {"dst":"0.0.0.0/0","gw":"169.254.1.1"}',
    'routes: {"dst":"::/0","gw":"fe80::1"}',
  ])
})

test('1.0.0: no IP version, no MTU', () => {
  expect(lines('1.0.0', null).slice(1, 4)).toEqual([
    'interfaces: {"name":"hdc1","mac":"02:00:00:00:00:01"}',
    'interfaces: {"name":"eth0","mac":"02:00:00:00:00:02","sandbox":"/run/netns/c1"}',
    'ips: {"address":"10.1.0.5/32","gateway":"169.254.1.1","interface":1}',
  ])
})

test('1.1.0: the MTU too, and the dns of the network configuration', () => {
  expect(lines('1.1.0', null, { nameservers: ['10.96.0.10'] })).toEqual([
    'cniVersion: "1.1.0"',
    'interfaces: {"name":"hdc1","mac":"02:00:00:00:00:01","mtu":1450}',
    'interfaces: {"name":"eth0","mac":"02:00:00:00:00:02","mtu":1450,"sandbox":"/run/netns/c1"}',
    'ips: {"address":"10.1.0.5/32","gateway":"169.254.1.1","interface":1}',
    'ips: {"address":"fd00::5/128","gateway":"fe80::1","interface":1}',
    'routes: {"dst":"0.0.0.0/0","gw":"169.254.1.1"}',
    'routes: {"dst":"::/0","gw":"fe80::1"}',
    'dns: {"nameservers":["10.96.0.10"]}',
  ])
})

test('what earlier plugins made comes first and unchanged; our addresses point behind it', () => {
  const previous = parseResult({
    cniVersion: '1.1.0',
    interfaces: [{ name: 'net1', sandbox: '/run/netns/c1', pciID: '0000:00:01.0' }],
    ips: [{ address: '192.0.2.9/24', interface: 0, custom: true }],
    routes: [{ dst: '192.0.2.0/24', priority: 7 }],
    dns: { nameservers: ['192.0.2.53'] },
  }) as CniResult
  const merged = lines('1.1.0', previous, { nameservers: ['10.96.0.10'] })
  expect(merged).toEqual([
    'cniVersion: "1.1.0"',
    'interfaces: {"name":"net1","sandbox":"/run/netns/c1","pciID":"0000:00:01.0"}',
    ...lines('1.1.0', null).slice(1, 3),
    'ips: {"address":"192.0.2.9/24","interface":0,"custom":true}',
    'ips: {"address":"10.1.0.5/32","gateway":"169.254.1.1","interface":2}',
    'ips: {"address":"fd00::5/128","gateway":"fe80::1","interface":2}',
    'routes: {"dst":"192.0.2.0/24","priority":7}',
    ...lines('1.1.0', null).slice(5),
    'dns: {"nameservers":["192.0.2.53"]}',
  ])
})

test('an earlier 0.3 address keeps its IP version', () => {
  const previous = parseResult({ ips: [{ version: '6', address: 'fd00:9::1/64' }] }) as CniResult
  expect(lines('0.3.0', previous)).toContain('ips: {"version":"6","address":"fd00:9::1/64"}')
})
