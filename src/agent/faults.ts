// SPDX-License-Identifier: Apache-2.0
// What the cluster is told of objects that are not in force as they stand (src/kube/event-writer.ts).

import type { Fault } from '../kube/event-writer.ts'
import { compiledOf, type Progress } from './progress.ts'
import { conflicts, refusedServices } from './service-problems.ts'

export function currentFaults(progress: Progress): Fault[] {
  const refused = progress.source?.problems() ?? []
  const services = [
    ...refusedServices(compiledOf(progress)),
    ...(progress.dataPlane === undefined ? [] : conflicts(progress.dataPlane.reconciler.store)),
  ]
  return [
    ...refused.map(({ object, field, message }) => ({
      object,
      message: field === '' ? message : `${field}: ${message}`,
    })),
    ...services.map((sentence) => ({ object: /^Service [^\s:]+/.exec(sentence)?.[0] ?? '', message: sentence })),
  ]
}
