#!/opt/heddle/bin/node --max-semi-space-size=2
// SPDX-License-Identifier: Apache-2.0
import '../dist/bin/heddle.mjs'
