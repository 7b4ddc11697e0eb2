/* SPDX-License-Identifier: Apache-2.0 */
/* The little JSON that the shim needs: find a member of the outermost object, write a string. The agent does
 * the parsing and every refusal; here a text that is not JSON has no members. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Part of a JSON text; a string keeps its quotes. */
struct json_value {
	const char *at;
	size_t length;
};

/* Value of the last member `key` of the outermost object. `text` is followed by a NUL; keys spelled with
 * escapes are not found. Cost: one pass, no recursion. */
bool json_member(const char *text, size_t length, const char *key, struct json_value *value);

/* Copies a string value without its quotes, NUL-terminated. False: not a string, has an escape other than \/,
 * or does not fit. */
bool json_string(struct json_value value, char *out, size_t size);

/* False: not a decimal number of at most 6 digits. */
bool json_natural(struct json_value value, unsigned *out);

/* Appends `text` as a JSON string; at most 6 * length + 2 bytes. Returns the end. */
char *json_append_string(char *out, const char *text, size_t length);
