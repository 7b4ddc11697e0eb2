// SPDX-License-Identifier: Apache-2.0
// For tests of rooms that are given the addon and may not load it.

import { loadAddon } from '../../src/kernel/load-addon.ts'

export const addon = loadAddon()
