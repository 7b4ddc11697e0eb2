// SPDX-License-Identifier: Apache-2.0
// Links of the documents: each relative one must lead to a file or folder of the checkout.

import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

const linkPattern = /\]\(([^)\s]+)\)/g

/** "file: target" for each broken link of a Markdown file. */
export function brokenLinks(file: string): readonly string[] {
  return [...readFileSync(file, 'utf8').matchAll(linkPattern)]
    .map((match) => match[1]!)
    .filter((target) => !/^(https?:|mailto:|#)/.test(target))
    .filter((target) => !existsSync(join(dirname(file), target.replace(/#.*$/, ''))))
    .map((target) => `${file}: ${target} leads nowhere`)
}
