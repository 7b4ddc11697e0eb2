// SPDX-License-Identifier: Apache-2.0

import { describe, expect, test } from 'vitest'
import { defaultConfigText, parseConfig } from './config.ts'

const defaults = parseConfig('', 'config.yaml')

describe('a setting that is silently ignored is a setting that an operator believes in', () => {
  test.each([
    ['nodeName: n1\nmanifest: /x\n', 'config.yaml:2: unknown key manifest'],
    ['mode: geneve\n', 'config.yaml:1: mode must be native or vxlan'],
    ['\n\nvni: 16777216\n', 'config.yaml:3: vni must be a whole number from 0 to 16777215'],
    ['runDir: run\n', 'config.yaml:1: runDir must be an absolute path'],
    [
      'serviceCIDRs: [10.96.0.0/33]\n',
      'config.yaml:1: serviceCIDRs must be prefixes such as 10.96.0.0/16, not 10.96.0.0/33',
    ],
    [
      'serviceCIDRs: ["::/64"]\n',
      'config.yaml:1: serviceCIDRs must be prefixes that hold no IPv4-mapped address, not ::/64',
    ],
    [
      'nodePortAddresses: [primary]\n',
      'config.yaml:1: nodePortAddresses must be prefixes such as 10.96.0.0/16, not primary',
    ],
    ['serviceCIDRs: 10.96.0.0/16\n', 'config.yaml:1: serviceCIDRs must be a list of prefixes'],
    ['mtu: 500\n', 'config.yaml:1: mtu must be a whole number from 1280 to 65535'],
    ['masquerade: 1\n', 'config.yaml:1: masquerade must be true or false'],
    ['loadBalancerMode: DSR\n', 'config.yaml:1: loadBalancerMode must be snat or hybrid'],
    ['loadBalancerMode: dsr\n', 'config.yaml:1: loadBalancerMode must be snat or hybrid: UDP and SCTP go by SNAT'],
    ['policyAudit: "true"\n', 'config.yaml:1: policyAudit must be true or false'],
    ['kubeconfig: admin.conf\n', "config.yaml:1: kubeconfig must be in-cluster, an absolute path or ''"],
    ['cniConfDir: cni\n', "config.yaml:1: cniConfDir must be an absolute path or ''"],
    [
      'apiServers: ["https://10.0.0.1:6443/api"]\n',
      'config.yaml:1: apiServers must be URLs such as https://10.0.0.1:6443, not https://10.0.0.1:6443/api',
    ],
    [
      'apiServers: ["http://10.0.0.1"]\n',
      'config.yaml:1: apiServers must be URLs such as https://10.0.0.1:6443, not http://10.0.0.1',
    ],
    ['mapSizes: {flows: 0}\n', 'config.yaml:1: mapSizes must be a size from 1 to 16777216 for flows'],
    ['mapSizes: {flow: 10}\n', 'config.yaml:1: mapSizes must be names of maps, not flow'],
    ['- nodeName\n', 'config.yaml:1: the configuration must be a mapping of keys to values'],
    ['mode: native\nmode: vxlan\n', 'config.yaml:2: Map keys must be unique'],
    ['natPortMin: 2000\nnatPortMax: 1999\n', 'config.yaml:1: natPortMin must not be above natPortMax'],
  ])('%j is refused with its line', (text, configProblem) => {
    expect(parseConfig(text, 'config.yaml')).toEqual({ configProblem })
  })

  test.each([
    'https://10.0.0.1:6443',
    'https://10.0.0.1:443',
    'https://api.example.com',
    'https://API.example.com:443/',
    'https://[fd00:0::1]:6443',
  ])('a managed cluster’s API server may be at any port: %s', (url) => {
    expect(parseConfig(`apiServers: ["${url}"]\n`, 'config.yaml')).toMatchObject({ apiServers: [url] })
  })

  test.each([
    'https://10.0.0.1:6443/?a=b',
    'https://u:p@10.0.0.1',
    'https://[10.0.0.1:6443]:6443',
    'https://10.0.0.1:6443#a',
  ])('what would be lost or is no server is refused: %s', (url) => {
    expect(parseConfig(`apiServers: ["${url}"]\n`, 'config.yaml')).toMatchObject({
      configProblem: expect.stringContaining('apiServers must be URLs'),
    })
  })

  test('what is given replaces the default, the rest keeps it', () => {
    expect(parseConfig('mode: native\nserviceCIDRs: ["fd00::1/112"]\nmtu: 9000\n', 'config.yaml')).toEqual({
      ...defaults,
      mode: 'native',
      serviceCIDRs: ['fd00::/112'],
      mtu: 9000,
    })
  })

  test('the printed defaults are a file that means the defaults', () => {
    expect(parseConfig(defaultConfigText(), 'config.yaml')).toEqual(defaults)
  })
})
