// SPDX-License-Identifier: Apache-2.0
// A program of its own, run in a node's network namespace by probes.ts: reads a list of targets as JSON from standard
// input, tries each until it answers or its patience ends, and writes the ids of those that did not answer.

import { get } from 'node:http'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import type { Knock } from './probes.ts'
import { waitUntil } from './process.ts'

const knocks = JSON.parse(await text(process.stdin)) as Knock[]
const silent = await Promise.all(knocks.map(async (knock) => ((await answers(knock)) ? [] : [knock.id])))
process.stdout.write(JSON.stringify(silent.flat()))

async function answers(knock: Knock): Promise<boolean> {
  await new Promise((resolve) => setTimeout(resolve, knock.delayMs))
  return waitUntil(
    () => (knock.httpPath === null ? accepts(knock) : answersHttp(knock, knock.httpPath)),
    knock.patienceMs,
  )
}

function accepts({ host, port, timeoutMs }: Knock): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: timeoutMs })
    const end = (result: boolean) => {
      socket.destroy()
      resolve(result)
    }
    socket.on('connect', () => end(true))
    socket.on('timeout', () => end(false))
    socket.on('error', () => end(false))
  })
}

/** Any status from 200 to 399 is an answer. Source: HTTPGetAction of core/v1. */
function answersHttp({ host, port, timeoutMs }: Knock, path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const request = get({ host, port, path, timeout: timeoutMs, agent: false }, (response) => {
      response.resume()
      resolve(response.statusCode! >= 200 && response.statusCode! < 400)
    })
    request.on('timeout', () => request.destroy(new Error('timeout')))
    request.on('error', () => resolve(false))
  })
}
