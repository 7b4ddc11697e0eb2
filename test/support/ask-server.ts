// SPDX-License-Identifier: Apache-2.0
// A client of the API server as the agent is one, for as long as its standard input is open: each line asks for the
// namespaces and prints "ok" or why not.
//   node test/support/ask-server.ts KUBECONFIG

import { createInterface } from 'node:readline'
import { createApiClient } from '../../src/kube/client.ts'
import { connectionFrom } from '../../src/kube/connection.ts'
import { resources } from '../../src/kube/resources.ts'

using client = createApiClient(connectionFrom({ kubeconfig: process.argv[2]! }))
for await (const _ of createInterface({ input: process.stdin })) {
  const answer = await client.list(resources.namespaces, {}).then(
    () => 'ok',
    (error: Error) => error.message,
  )
  process.stdout.write(`${answer}\n`)
}
