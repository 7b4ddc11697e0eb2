// SPDX-License-Identifier: Apache-2.0

import { expect, test } from 'vitest'
import { createMetrics, type Readings } from './metrics.ts'

const readings: Readings = {
  drops: [],
  audited: [{ reason: 'policy-ingress', packets: 3, bytes: 180 }],
  tables: [],
  endpointCount: 0,
  pools: [],
  objectCounts: {},
  problemCount: 0,
  streamFailures: [
    { kind: 'Pod', reason: 'unreachable', count: 2 },
    { kind: 'Pod', reason: 'unreachable', count: 3 },
    { kind: 'Service', reason: 'forbidden', count: 1 },
  ],
  isReady: true,
  services: { refused: 1, conflicts: 2, ignored: new Map([['loopback', 3]]) },
  serviceSync: {
    services: { pending: 4, total: 5 },
    endpoints: { pending: 6, total: 7 },
    queuedMs: 8_000,
    updatedMs: 9_000,
  },
}

test('what audited policies would drop is counted apart from what was dropped', async () => {
  const metrics = createMetrics(async () => readings, {})
  await metrics.text()
  const text = await metrics.text()
  expect(text).toContain('heddle_audit_packets_total{reason="policy-ingress"} 3')
  expect(text).not.toContain('heddle_drop_packets_total{')
})

test('lists and watches that failed are counted by kind and reason, whichever of two streams of a kind it was', async () => {
  const metrics = createMetrics(async () => readings, {})
  await metrics.text()
  const text = await metrics.text()
  expect(text).toContain('heddle_source_stream_failures_total{kind="Pod",reason="unreachable"} 5')
  expect(text).toContain('heddle_source_stream_failures_total{kind="Service",reason="forbidden"} 1')
})

test('dashboards made for kube-proxy find its names with our numbers, at each scrape anew', async () => {
  const metrics = createMetrics(async () => readings, {})
  metrics.applied({ compile: 0.5, apply: 0.25 }, 1, true)
  metrics.networkProgrammed(1.5)
  await metrics.text()
  const lines = (await metrics.text()).split('\n')
  expect(lines).toEqual(
    expect.arrayContaining([
      'heddle_services_refused 1',
      'heddle_service_conflicts 2',
      'heddle_service_endpoints_ignored{reason="loopback"} 3',
      'kubeproxy_sync_proxy_rules_duration_seconds_sum 0.75',
      'kubeproxy_sync_proxy_rules_duration_seconds_bucket{le="16.384"} 1',
      'kubeproxy_sync_proxy_rules_last_timestamp_seconds 9',
      'kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds 8',
      'kubeproxy_sync_proxy_rules_service_changes_pending 4',
      'kubeproxy_sync_proxy_rules_service_changes_total 5',
      'kubeproxy_sync_proxy_rules_endpoint_changes_pending 6',
      'kubeproxy_sync_proxy_rules_endpoint_changes_total 7',
      'kubeproxy_network_programming_duration_seconds_bucket{le="1"} 0',
      'kubeproxy_network_programming_duration_seconds_bucket{le="2"} 1',
      'kubeproxy_network_programming_duration_seconds_bucket{le="300"} 1',
    ]),
  )
})
