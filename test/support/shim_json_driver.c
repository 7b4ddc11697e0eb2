// SPDX-License-Identifier: Apache-2.0
/* Runs native/cni-shim/json.c on texts for shim-json.test.ts. Standard input: frames of a length (4 bytes,
 * host order) and a text. Standard output, for each text: the raw member "key" or nothing, its string or
 * nothing, and the whole text as a JSON string, each as such a frame. */
#include "../../native/cni-shim/json.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put(const char *bytes, size_t length)
{
	uint32_t frame_length = (uint32_t)length;

	fwrite(&frame_length, sizeof(frame_length), 1, stdout);
	fwrite(bytes, 1, length, stdout);
}

int main(void)
{
	uint32_t length;

	while (fread(&length, sizeof(length), 1, stdin) == 1) {
		/* Exactly as large as what the shim promises, so that a sanitizer sees each byte beyond. */
		char *text = malloc(length + 1);
		char *escaped = malloc(6 * (size_t)length + 2);
		struct json_value value = { "", 0 };
		char string[16];

		if (fread(text, 1, length, stdin) != length) return 1;
		text[length] = '\0';
		if (!json_member(text, length, "key", &value)) value = (struct json_value){ "", 0 };
		put(value.at, value.length);
		put(string, json_string(value, string, sizeof(string)) ? strlen(string) : 0);
		put(escaped, (size_t)(json_append_string(escaped, text, length) - escaped));
		free(text);
		free(escaped);
	}
	return 0;
}
