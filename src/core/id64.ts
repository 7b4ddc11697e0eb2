// SPDX-License-Identifier: Apache-2.0
// Ids of classes, policy sets, rules, nodes and backend lists (bpf/abi/address.h).

export type Id64 = bigint
