// SPDX-License-Identifier: Apache-2.0
// A UDP client at a place of a lab (udp-client.ts) that exchanges one datagram each time it is told to.

import type { Background } from './background.ts'
import { scriptArgv, type TestLab } from './lab.ts'
import type { UdpExchange } from './udp-client.ts'

export interface UdpClient {
  readonly next: () => Promise<UdpExchange>
  readonly stop: () => Promise<string>
}

export function startUdpClient(
  lab: Pick<TestLab, 'start'>,
  place: string,
  host: string,
  port: number,
  kind: 'connected' | 'unconnected',
): UdpClient {
  const background: Background = lab.start(place, scriptArgv('udp-client.ts', host, String(port), kind))
  let count = 0
  return {
    next: async () => {
      await background.until((output) => output.includes('ready\n'))
      background.write('go\n')
      count++
      await background.until((output) => exchanges(output).length === count)
      return JSON.parse(exchanges(background.output())[count - 1]!) as UdpExchange
    },
    stop: background.stop,
  }
}

function exchanges(output: string): string[] {
  return output.split('\n').filter((line) => line.startsWith('{') && line.endsWith('}'))
}
