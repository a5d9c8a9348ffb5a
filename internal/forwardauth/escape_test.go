package forwardauth

import (
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/keytail/keytail/internal/apikey"
)

func TestEscapeIsExact(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := string(rapid.SliceOf(rapid.Byte()).Draw(t, "text"))
		out := escape(text)
		if back, err := url.PathUnescape(out); err != nil || back != text {
			t.Fatalf("%q became %q and was decoded as %q, %v", text, out, back, err)
		}
		for _, c := range []byte(out) {
			if c <= ' ' || c > '~' || c == '"' || c == '\\' {
				t.Fatalf("%q became %q", text, out)
			}
		}
	})
}

func TestJoinScopes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		scopes := rapid.SliceOf(rapid.StringN(1, 20, -1)).Draw(t, "scopes")
		parts := strings.Fields(joinScopes(scopes))
		if len(parts) != len(scopes) {
			t.Fatalf("%q became %q", scopes, parts)
		}
		for i, part := range parts {
			if back, err := url.PathUnescape(part); err != nil || back != scopes[i] {
				t.Fatalf("%q became %q", scopes[i], part)
			}
		}
	})
}

func TestSafeRequestID(t *testing.T) {
	t.Parallel()
	key, err := apikey.Generate("kt", nil)
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]bool{
		"a": true, strings.Repeat("a", 128): true, "550e8400-e29b-41d4-a716-446655440000": true,
		"": false, strings.Repeat("a", 129): false, "a b": false, "a\tb": false, "a\"b": false, "<b>": false, "é": false,
		"a;b": false, "a%0a": false, "a\x7f": false, "${x}": false,
		key: false, "leak:" + key: false, key + ":leak": false, "a_b_" + key + ".": false, "kt__" + key[3:]: false,
		key[:len(key)-1]: true, key + "0": true, "kt-" + key[3:]: true, "a_b_c": true,
	} {
		if SafeRequestID(id) != want {
			t.Errorf("%q: %v", id, !want)
		}
	}
}
