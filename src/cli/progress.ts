// SPDX-License-Identifier: Apache-2.0
// Progress of commands that take a while: silent for the first second, then one line per step on standard error.

export interface Progress {
  readonly step: (text: string) => void
  readonly done: () => void
}

export function startProgress(warn: (text: string) => void): Progress {
  let current: string | null = null
  let talking = false
  const say = () => {
    if (current !== null) warn(`${current} ...`)
    current = null
  }
  const timer = setTimeout(() => {
    talking = true
    say()
  }, 1_000)
  return {
    step: (text) => {
      current = text
      if (talking) say()
    },
    done: () => {
      current = null
      clearTimeout(timer)
    },
  }
}
