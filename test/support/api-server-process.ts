// SPDX-License-Identifier: Apache-2.0
// Two API servers (api-server.ts) with the same objects, as a process of its own, so that they can stand in the network
// namespace of a node. Prints their URLs, then answers each line of input, a command, with a line of JSON.
// Usage: api-server-process.ts '{"key": PATH, "cert": PATH}'

import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { type ApiJson, type Rule, startApiServer } from './api-server.ts'

export type ServerCommand =
  | { readonly do: 'put'; readonly object: ApiJson }
  | { readonly do: 'rules'; readonly rules: readonly Rule[] }
  | { readonly do: 'asked' | 'objects'; readonly kind: string }
  | { readonly do: 'stop'; readonly server: number }

const paths = JSON.parse(process.argv[2]!) as { readonly key: string; readonly cert: string }
const tls = { key: readFileSync(paths.key, 'utf8'), cert: readFileSync(paths.cert, 'utf8') }
const servers = [await startApiServer(tls), await startApiServer(tls)]
for (const server of servers) server.watchList = false // list and watch are both asked for
process.stdout.write(`${JSON.stringify(servers.map(({ url }) => url))}\n`)

/** put: milliseconds since 1970 when it was told. */
async function perform(command: ServerCommand): Promise<unknown> {
  switch (command.do) {
    case 'put':
      for (const server of servers) server.put(command.object)
      return Date.now()
    case 'rules':
      for (const server of servers) server.rules = command.rules
      return null
    case 'asked':
      return [...new Set(servers.flatMap(({ asked }) => [...asked]))].toSorted()
    case 'objects':
      return servers[0]!.objects(command.kind)
    case 'stop':
      await servers[command.server]!.stop()
      return null
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await perform(JSON.parse(line) as ServerCommand))}\n`)
}
process.exit(0)
