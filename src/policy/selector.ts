// SPDX-License-Identifier: Apache-2.0
// metav1.LabelSelector.

import type { LabelSelector, Labels } from '../world/objects.ts'

export function matches(selector: LabelSelector, labels: Labels): boolean {
  for (const key in selector.matchLabels) {
    if (labelOf(labels, key) !== selector.matchLabels[key]) return false
  }
  return selector.matchExpressions.every((requirement) => isMet(requirement, labelOf(labels, requirement.key)))
}

function isMet({ operator, values }: LabelSelector['matchExpressions'][number], value: string | undefined): boolean {
  switch (operator) {
    case 'In':
      return value !== undefined && values.includes(value)
    case 'NotIn':
      return value === undefined || !values.includes(value)
    case 'Exists':
      return value !== undefined
    case 'DoesNotExist':
      return value === undefined
  }
}

/** Selects everything. */
export function isEmpty(selector: LabelSelector): boolean {
  return selector.matchExpressions.length === 0 && Object.keys(selector.matchLabels).length === 0
}

/** As kubectl writes it, terms sorted: "app=cart,tier in (a,b),!debug"; '' for the empty selector. Label characters leave
 *  no way to read it differently. */
export function selectorText(selector: LabelSelector): string {
  const equals = Object.entries(selector.matchLabels).map(([key, value]) => `${key}=${value}`)
  const expressions = selector.matchExpressions.map(({ key, operator, values }) => {
    if (operator === 'Exists') return key
    if (operator === 'DoesNotExist') return `!${key}`
    return `${key} ${operator === 'In' ? 'in' : 'notin'} (${values.toSorted().join(',')})`
  })
  return [...new Set([...equals, ...expressions])].sort().join(',')
}

function labelOf(labels: Labels, key: string): string | undefined {
  return Object.hasOwn(labels, key) ? labels[key] : undefined
}
