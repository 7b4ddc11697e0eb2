// SPDX-License-Identifier: Apache-2.0
#include "json.h"

#include <string.h>

static size_t skip_space(const char *text, size_t at)
{
	while (text[at] == ' ' || text[at] == '\t' || text[at] == '\n' || text[at] == '\r')
		at++;
	return at;
}

/* Index behind the string that starts at `at`; `length` when it does not end. */
static size_t string_end(const char *text, size_t length, size_t at)
{
	for (at++; at < length; at++) {
		if (text[at] == '\\')
			at++;
		else if (text[at] == '"')
			return at + 1;
	}
	return length;
}

/* Index behind the value that starts at `at`, whatever it holds. */
static size_t value_end(const char *text, size_t length, size_t at)
{
	size_t depth = 0;

	while (at < length) {
		switch (text[at]) {
		case '"':
			at = string_end(text, length, at);
			if (depth == 0) return at;
			continue;
		case '{':
		case '[':
			depth++;
			break;
		case '}':
		case ']':
			if (depth == 0) return at;
			if (--depth == 0) return at + 1;
			break;
		case ',':
		case ' ':
		case '\t':
		case '\n':
		case '\r':
			if (depth == 0) return at;
		}
		at++;
	}
	return length;
}

bool json_member(const char *text, size_t length, const char *key, struct json_value *value)
{
	size_t key_length = strlen(key);
	size_t at = skip_space(text, 0);
	bool found = false;

	if (text[at] != '{') return false;
	do {
		size_t name = skip_space(text, at + 1);
		size_t name_end, start;

		if (text[name] != '"') return found;
		name_end = string_end(text, length, name);
		at = skip_space(text, name_end);
		if (text[at] != ':') return found;
		start = skip_space(text, at + 1);
		at = value_end(text, length, start);
		if (name_end - name == key_length + 2 && memcmp(text + name + 1, key, key_length) == 0) {
			*value = (struct json_value){ text + start, at - start };
			found = true;
		}
		at = skip_space(text, at);
	} while (text[at] == ',');
	return found;
}

bool json_string(struct json_value value, char *out, size_t size)
{
	size_t used = 0;

	if (value.length < 2 || value.at[0] != '"' || value.at[value.length - 1] != '"') return false;
	for (size_t i = 1; i < value.length - 1; i++) {
		if (value.at[i] == '\\' && value.at[++i] != '/') return false;
		if (used + 1 >= size || value.at[i] == '\0') return false;
		out[used++] = value.at[i];
	}
	out[used] = '\0';
	return true;
}

bool json_natural(struct json_value value, unsigned *out)
{
	*out = 0;
	if (value.length == 0 || value.length > 6) return false;
	for (size_t i = 0; i < value.length; i++) {
		if (value.at[i] < '0' || value.at[i] > '9') return false;
		*out = *out * 10 + (unsigned)(value.at[i] - '0');
	}
	return true;
}

char *json_append_string(char *out, const char *text, size_t length)
{
	static const char hex[] = "0123456789abcdef";

	*out++ = '"';
	for (size_t i = 0; i < length; i++) {
		unsigned char c = (unsigned char)text[i];

		if (c < 0x20) {
			memcpy(out, "\\u00", 4);
			out[4] = hex[c >> 4];
			out[5] = hex[c & 15];
			out += 6;
			continue;
		}
		if (c == '"' || c == '\\') *out++ = '\\';
		*out++ = (char)c;
	}
	*out++ = '"';
	return out;
}
