// SPDX-License-Identifier: Apache-2.0
// The test suites. Each runs as a process of its own (tools/test.ts); `npx vitest run --project NAME FILE` runs one file.

import { defineConfig } from 'vitest/config'

/** Suites in the order in which a defect is cheapest to read. All but unit need root. */
export const suites = [
  { name: 'unit', include: ['{src,tools,bench}/**/*.test.ts'], exclude: ['src/kernel/**'], timeoutSeconds: 20 },
  { name: 'deploy', include: ['test/deploy/**/*.test.ts'], timeoutSeconds: 120 },
  { name: 'kernel', include: ['src/kernel/**/*.test.ts', 'test/kernel/**/*.test.ts'], timeoutSeconds: 60 },
  { name: 'packet', include: ['test/packet/**/*.test.ts'], timeoutSeconds: 60 },
  { name: 'netns', include: ['test/netns/**/*.test.ts', 'test/cni/**/*.test.ts'], timeoutSeconds: 180 },
  { name: 'e2e', include: ['test/e2e/**/*.test.ts'], timeoutSeconds: 300 },
  // `make cluster-test` only: a real Kubernetes (tools/test.ts).
  { name: 'cluster', include: ['test/cluster/**/*.test.ts'], timeoutSeconds: 600 },
]

/** `make soak` runs the same tests with longer figures (test/support/soak.ts); a minute of load is within a lab's usual
 *  patience. */
function patience(suite: string): number {
  return process.env.HEDDLE_SOAK === '1' && suite !== 'e2e' ? 20 : 1
}

export default defineConfig({
  test: {
    projects: suites.map(({ name, include, exclude = [], timeoutSeconds }) => ({
      test: {
        name,
        include,
        exclude: ['node_modules/**', ...exclude],
        // Labs and objects of the kernel outlive a thread that is ended; a forked process is ended as a whole.
        pool: 'forks',
        maxWorkers: name === 'unit' || name === 'netns' ? 2 : 1,
        testTimeout: timeoutSeconds * 1000 * patience(name),
        hookTimeout: timeoutSeconds * 1000 * patience(name),
      },
    })),
  },
})
