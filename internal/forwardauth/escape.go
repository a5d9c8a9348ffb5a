package forwardauth

import "strings"

// escape percent-encodes what a header value cannot contain literally: bytes that
// are not printable ASCII; '%', so that decoding is exact; '"' and '\', which end
// or escape a quoted-string; and the space, which separates scopes and is trimmed
// at the ends. It encodes bytes, not characters, as in RFC 3986, section 2.1.
func escape(text string) string {
	for i := range len(text) {
		if !isPlain(text[i]) {
			var b strings.Builder
			b.Grow(len(text) + 8)
			appendEscaped(&b, text)
			return b.String()
		}
	}
	return text
}

// joinScopes escapes scopes and joins them with spaces.
func joinScopes(scopes []string) string {
	if len(scopes) == 1 {
		return escape(scopes[0])
	}
	length := len(scopes)
	for _, scope := range scopes {
		length += len(scope)
	}
	var b strings.Builder
	b.Grow(length)
	for i, scope := range scopes {
		if i > 0 {
			b.WriteByte(' ')
		}
		appendEscaped(&b, scope)
	}
	return b.String()
}

func appendEscaped(b *strings.Builder, text string) {
	const digits = "0123456789ABCDEF"
	for i := range len(text) {
		c := text[i]
		if isPlain(c) {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(digits[c>>4])
		b.WriteByte(digits[c&15])
	}
}

// isPlain reports whether a byte needs no escape.
func isPlain(c byte) bool {
	return c > ' ' && c <= '~' && c != '%' && c != '"' && c != '\\'
}
