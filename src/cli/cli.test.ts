// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Command } from 'commander'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { commands } from './commands.ts'
import { buildProgram, runCli } from './main.ts'

interface Run {
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
}

async function heddle(...argv: string[]): Promise<Run> {
  let stdout = ''
  let stderr = ''
  const exitCode = await runCli(argv, {
    print: (text) => {
      stdout += text
    },
    warn: (text) => {
      stderr += `${text}\n`
    },
    colour: false,
  })
  return { exitCode, stdout, stderr }
}

function allCommands(command: Command): Command[] {
  return [command, ...command.commands.flatMap(allCommands)]
}

function wordsOf(command: Command): string[] {
  return command.parent ? [...wordsOf(command.parent), command.name()] : []
}

const quiet = { print: () => {}, warn: () => {}, colour: false }

describe('help', () => {
  test.each(allCommands(buildProgram(quiet, () => {})).map((command) => wordsOf(command).join(' ')))(
    'heddle %s --help shows an example',
    async (words) => {
      const { exitCode, stdout } = await heddle(...words.split(' ').filter(Boolean), '--help')
      expect(exitCode).toBe(0)
      expect(stdout).toMatch(/\nExample:\n {2}heddle /)
    },
  )

  test.each(commands.flatMap(({ examples, usage }) => examples.map((example) => [example, usage] as const)))(
    'the example `%s` is one of `%s`',
    (example, usage) => {
      const words = usage.replace(/ [<[].*/, '')
      expect(example.split(' && ').some((line) => line.startsWith(`heddle ${words}`))).toBe(true)
    },
  )
})

describe('bad usage exits 2 with one sentence', () => {
  test.each([
    [['nonsense'], /unknown command 'nonsense'/],
    [['status', '--colour'], /unknown option '--colour'/],
    [['status', '-o', 'xml'], /Allowed choices are text, json, yaml/],
    [['lab', 'exec'], /missing required argument 'place'/],
    [['lab', 'up', '--nodes', 'two'], /--nodes takes a number/],
    [['lab', 'up', '--mode', 'geneve'], /Allowed choices are vxlan, native/],
    [['lab', 'up', '--name', 'Lab/1'], /a lab's name/],
    [['trace', 'a/b', 'c/d', 'http'], /a port is a number/],
    [['service', 'show', 'web'], /a Service is NS\/NAME, not "web"/],
    [['monitor', '--seconds', 'ten'], /--seconds takes a number/],
    [['connectivity', 'test', '--test', '('], /--test: Invalid regular expression/],
    [['connectivity', 'test', '--families', '5'], /Allowed choices are 4, 6, 46/],
    [['connectivity', 'test', '--image', 'a b'], /--image takes the name of an image/],
    [['connectivity', 'test', '--namespace-prefix', 'Kube/system'], /--namespace-prefix takes a-z/],
    [['connectivity', 'test', '--nodes', '0'], /--nodes takes a number from 1 to 100/],
    [['connectivity', 'test', '--kubeconfig', '/nonexistent'], /\/nonexistent.*; name another file/],
    [['connectivity', 'serve', 'a', '80,x', '10.0.0.1'], /ports are numbers/],
    [['connectivity', 'probe', '{}'], /a batch is JSON/],
    [['lab', 'apply', '/nonexistent.yaml'], /cannot read \/nonexistent.yaml: ENOENT/],
  ])('heddle %j', async (argv, message) => {
    const { exitCode, stderr, stdout } = await heddle(...argv)
    expect(stderr).toMatch(message)
    expect(stderr.trim().split('\n')).toHaveLength(1)
    expect(stdout).toBe('')
    expect(exitCode).toBe(2)
  })
})

describe('commands that ask the agent', () => {
  let dir: string
  let server: Server
  const asked: string[] = []
  const replies: Record<string, [status: number, body: unknown]> = {
    '/v1/services': [
      200,
      [
        {
          namespace: 'shop',
          name: 'web',
          portName: 'http',
          address: 'fd00:96::a',
          port: 80,
          protocol: 'TCP',
          backends: [
            { address: 'fd00:10:244:1::2', port: 8080 },
            { address: 'fd00:10:244:2::2', port: 8080 },
          ],
          drift: 'none',
        },
      ],
    ],
    '/v1/service?name=shop%2Fweb': [
      200,
      {
        namespace: 'shop',
        name: 'web',
        loadBalancerMode: 'hybrid',
        frontends: [
          {
            portName: 'http',
            kind: 'LoadBalancer',
            address: '203.0.113.7',
            port: 80,
            protocol: 'TCP',
            internal: { backends: [{ address: '10.1.0.1', port: 8080 }], policy: 'Cluster', whenEmpty: 'refuse' },
            external: { backends: [], policy: 'Local', whenEmpty: 'drop' },
            sourceRanges: ['198.51.100.0/24'],
            affinitySeconds: 60,
            algorithm: 'round-robin',
            drift: 'none',
          },
        ],
        endpoints: [
          {
            portName: 'http',
            protocol: 'TCP',
            address: '10.1.0.1',
            port: 8080,
            node: 'n2',
            ready: false,
            serving: true,
            terminating: true,
            zoneHints: ['z1'],
            nodeHints: [],
            weight: 3,
            inCluster: true,
            inLocal: false,
            excluded: '',
          },
        ],
        traffic: [
          { address: '10.1.0.1', port: 8080, protocol: 'TCP', connections: 2, bytesSent: 1201, bytesReceived: 90_000 },
        ],
        clients: [
          { portName: 'http', client: 'shop/cart', backend: { address: '10.1.0.1', port: 8080 }, idleSeconds: 3.2 },
        ],
        healthCheck: { port: 31000, localEndpoints: 0 },
        problems: ['Service shop/web: ignored of its slices: 1 × loopback'],
      },
    ],
    '/v1/plan': [200, { steps: ['put services shop/web'] }],
    '/v1/nodes': [503, { error: 'the tables are not loaded yet; try again' }],
  }

  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'heddle-cli-'))
    asked.length = 0
    server = createServer((request, response) => {
      asked.push(`${request.method} ${request.url}`)
      if (request.url === '/v1/events') {
        response.write('{"type":"drop","reason":"multicast","time":"2026-01-01T00:00:00.000Z"}\n', () =>
          request.destroy(),
        )
        return
      }
      const [status, body] = replies[request.url!] ?? [400, { error: `no such thing: ${request.url}` }]
      response.writeHead(status).end(JSON.stringify(body))
    })
    await new Promise<void>((resolve) => server.listen(`${dir}/agent.sock`, resolve))
  })

  afterEach(() => {
    server.close()
    rmSync(dir, { recursive: true })
  })

  const ask = (...argv: string[]) => heddle(...argv, '--socket', `${dir}/agent.sock`)

  test('text is an aligned table, with one line per backend when asked', async () => {
    expect((await ask('service', 'list')).stdout).toBe(
      'SERVICE   PORT  FRONTEND             BACKENDS  DRIFT\nshop/web  http  [fd00:96::a]:80/TCP         2  none\n',
    )
    expect((await ask('service', 'list', '--backends')).stdout).toBe(
      [
        'SERVICE   PORT  FRONTEND             BACKEND                  DRIFT',
        'shop/web  http  [fd00:96::a]:80/TCP  [fd00:10:244:1::2]:8080  none',
        'shop/web  http  [fd00:96::a]:80/TCP  [fd00:10:244:2::2]:8080  none',
        '',
      ].join('\n'),
    )
  })

  test('a Service is shown with its frontends, endpoints, health check and problems', async () => {
    expect((await ask('service', 'show', 'shop/web')).stdout).toMatchInlineSnapshot(`
      "KIND          PORT  FRONTEND            INSIDE  OUTSIDE     ONLY FROM        BALANCING    AFFINITY  DRIFT
      LoadBalancer  http  203.0.113.7:80/TCP  1       drop local  198.51.100.0/24  round-robin  60 s      none

      PORT      ENDPOINT       NODE  STATE                 HINTS  WEIGHT  CLUSTER  LOCAL  EXCLUDED
      http/TCP  10.1.0.1:8080  n2    terminating, serving  z1          3  yes      no     -

      load balancer mode hybrid

      BACKEND            CONNECTIONS FROM HERE  BYTES SENT  BYTES RECEIVED
      10.1.0.1:8080/TCP                      2        1201           90000

      PORT  CLIENT     IS LED TO      CAME LAST
      http  shop/cart  10.1.0.1:8080  3 s

      health check on port 31000: 0 here

      Service shop/web: ignored of its slices: 1 × loopback
      "
    `)
  })

  test('JSON and YAML carry the reply as it is', async () => {
    expect(JSON.parse((await ask('service', 'list', '-o', 'json')).stdout)).toEqual(replies['/v1/services']![1])
    expect((await ask('plan', '-o', 'yaml')).stdout).toBe('steps:\n  - put services shop/web\n')
  })

  test('a trace asks with protocol and port, and exits 2 where the agent calls the question bad', async () => {
    const { exitCode, stderr } = await ask('trace', 'shop/a', 'svc/shop/web', '80/udp')
    expect(asked).toEqual(['GET /v1/trace?from=shop%2Fa&to=svc%2Fshop%2Fweb&port=80&protocol=UDP'])
    expect(stderr).toMatch(/^heddle: no such thing/)
    expect(exitCode).toBe(2)
  })

  test("the agent's own sentence is the error", async () => {
    expect(await ask('node', 'list')).toEqual({
      exitCode: 1,
      stdout: '',
      stderr: 'heddle: the tables are not loaded yet; try again\n',
    })
  })

  test('an agent that ends while it is monitored: what it said, then one sentence', async () => {
    const { exitCode, stdout, stderr } = await ask('monitor', '-f', '-o', 'json')
    expect(JSON.parse(stdout)).toMatchObject({ reason: 'multicast' })
    expect(stderr).toBe(`heddle: ${dir}/agent.sock: the agent ended in the middle of its answer\n`)
    expect(exitCode).toBe(1)
  })

  test('no agent: one sentence that names the socket', async () => {
    const { exitCode, stderr } = await heddle('status', '--socket', `${dir}/none.sock`)
    expect(stderr).toBe(`heddle: no agent listens on ${dir}/none.sock: ENOENT; is it running?\n`)
    expect(exitCode).toBe(1)
  })
})

test('a malformed manifest is named by file, line, document and field before anything is started', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'heddle-cli-'))
  writeFileSync(
    `${dir}/bad.yaml`,
    'apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  ports: [{port: 70000}]\n',
  )
  const { exitCode, stderr } = await heddle('lab', 'up', '--name', 'never', '--manifests', dir)
  rmSync(dir, { recursive: true })
  expect(stderr).toMatch(/bad.yaml:5: document 1: Service default\/web: spec.ports\[0\].port: /)
  expect(exitCode).toBe(2)
})
