// SPDX-License-Identifier: Apache-2.0
// `heddle policy why` as a picture: who may come in on the left, the pod, whom it may reach on the right.

import type { DirectionPolicies, PodPolicies, PodRule } from '../policy/why.ts'

/** One arrow: a rule, or everything where no policy isolates. */
interface Arrow {
  readonly peers: string
  readonly label: string
}

/** Graphviz: `heddle policy why shop/web --dot | dot -Tsvg`. */
export function podDot({ pod, ingress, egress }: PodPolicies): string {
  const quoted = (text: string) => JSON.stringify(text)
  const lines = [
    ...arrowsOf(ingress).map(
      ({ peers, label }) => `${quoted(`from: ${peers}`)} -> ${quoted(pod)} [label=${quoted(label)}]`,
    ),
    ...arrowsOf(egress).map(
      ({ peers, label }) => `${quoted(pod)} -> ${quoted(`to: ${peers}`)} [label=${quoted(label)}]`,
    ),
  ]
  const nodes = [`node [shape=box]`, `${quoted(pod)} [style=bold]`]
  return `digraph policy {\n  rankdir=LR\n${[...nodes, ...lines].map((line) => `  ${line}\n`).join('')}}\n`
}

const ROW = 56
const BOX = { width: 320, height: 36 }
const GAP = 260
const POD_X = BOX.width + GAP

/** A picture that needs no other program. */
export function podSvg({ pod, ingress, egress }: PodPolicies): string {
  const [inward, outward] = [arrowsOf(ingress), arrowsOf(egress)]
  const rows = Math.max(inward.length, outward.length, 1)
  const width = 2 * POD_X + BOX.width
  const height = rows * ROW + ROW
  const middle = (rows * ROW) / 2
  const rightX = 2 * POD_X
  const parts = [
    ...inward.flatMap(({ peers, label }, row) => [
      box(0, row * ROW, peers),
      arrow([BOX.width, row * ROW], [POD_X, middle - BOX.height / 2], label),
    ]),
    box(POD_X, middle - BOX.height / 2, pod, 2),
    ...outward.flatMap(({ peers, label }, row) => [
      box(rightX, row * ROW, peers),
      arrow([POD_X + BOX.width, middle - BOX.height / 2], [rightX, row * ROW], label),
    ]),
  ]
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="-8 -8 ${width + 16} ${height + 16}" font-family="sans-serif" font-size="12">
<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto"><path d="M0 0L8 4L0 8z"/></marker></defs>
${parts.join('\n')}
</svg>
`
}

function arrowsOf({ isolatedBy, otherwise, rules }: DirectionPolicies): readonly Arrow[] {
  const arrows = rules.filter(({ peers }) => peers.length > 0).map(arrowOf)
  if (isolatedBy.length > 0 || otherwise === 'deny') return arrows
  return [...arrows, { peers: 'everybody', label: arrows.length === 0 ? 'everything: no policy' : 'everything else' }]
}

function arrowOf({ rule, action, audited, peers, ports }: PodRule): Arrow {
  const effect = `${audited ? 'audit: ' : ''}${action === 'Accept' ? '' : `${action}: `}`
  return { peers: peers.join(' or '), label: `${effect}${ports.join(', ')} (${rule})` }
}

function box(x: number, y: number, label: string, stroke = 1): string {
  const { width, height } = BOX
  return (
    `<rect x="${x}" y="${y}" width="${width}" height="${height}" rx="4" fill="white" stroke="black" stroke-width="${stroke}"/>` +
    text(x + width / 2, y + height / 2 + 4, label, 50)
  )
}

function arrow([x1, y1]: readonly [number, number], [x2, y2]: readonly [number, number], label: string): string {
  const [from, to] = [y1 + BOX.height / 2, y2 + BOX.height / 2]
  return (
    `<path d="M${x1} ${from}L${x2} ${to}" fill="none" stroke="black" marker-end="url(#tip)"/>` +
    text((x1 + x2) / 2, (from + to) / 2 - 6, label, 40)
  )
}

/** The whole of what is cut is in the title, which a browser shows. */
function text(x: number, y: number, label: string, charactersMax: number): string {
  const shown = label.length > charactersMax ? `${label.slice(0, charactersMax - 1)}…` : label
  return `<text x="${x}" y="${y}" text-anchor="middle"><title>${escaped(label)}</title>${escaped(shown)}</text>`
}

function escaped(label: string): string {
  return label.replace(/[<>&"]/g, (character) => `&#${character.charCodeAt(0)};`)
}
