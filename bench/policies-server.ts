// SPDX-License-Identifier: Apache-2.0
// The API server of bench/policies-agent.ts, run inside the node's network namespace. Prints its URL once it holds the
// cluster; ends with its standard input.
//   node bench/policies-server.ts SCENARIO < a line with the objects of the lab, which take the place of those of their names

import { createInterface } from 'node:readline'
import { objectKey } from '../src/lab/objects.ts'
import { type ApiJson, startApiServer } from '../test/support/api-server.ts'
import { bigCluster, type Scenario } from './big-cluster.ts'

const input = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
const own = new Map((JSON.parse((await input.next()).value!) as ApiJson[]).map((object) => [objectKey(object), object]))
await using server = await startApiServer()
for (const object of bigCluster(process.argv[2] as Scenario)) server.put(own.get(objectKey(object)) ?? object)
process.stdout.write(`${server.url}\n`)
await input.next()
