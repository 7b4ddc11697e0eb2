// SPDX-License-Identifier: Apache-2.0
// What a guest tells the host on its console, in lines that start with `marker`; everything else is for people.

export const marker = '@heddle '

export type Message =
  | { readonly kind: 'kernel'; readonly release: string }
  | { readonly kind: 'program'; readonly object: string; readonly program: string; readonly instructions: number }
  /** problem '': it holds. */
  | { readonly kind: 'step'; readonly name: string; readonly problem: string }
