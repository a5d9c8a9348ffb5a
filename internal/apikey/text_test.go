package apikey

import (
	"net/netip"
	"strings"
	"testing"
)

func TestReadableTexts(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text      string
		scope, id, nick bool
	}{
		{"plain", "read", true, true, true},
		{"empty", "", false, false, true},
		{"not ASCII", "lesen:größe", true, true, true},
		{"wildcard", "keys:*", true, true, true},
		{"space", "read write", false, true, true},
		{"no-break space", "read\u00a0write", false, true, true},
		{"line separator", "read\u2028write", false, true, true},
		{"newline", "read\nwrite", false, false, false},
		{"tab", "read\twrite", false, false, false},
		{"zero byte", "read\x00", false, false, false},
		{"delete", "read\x7f", false, false, false},
		{"C1 control", "read\u0085", false, false, false},
		{"not UTF-8", "read\xff", false, false, false},
		{"256 bytes", strings.Repeat("a", 256), true, true, true},
		{"257 bytes", strings.Repeat("a", 257), false, false, true},
		{"1024 bytes", strings.Repeat("a", 1024), false, false, true},
		{"1025 bytes", strings.Repeat("a", 1025), false, false, false},
	}
	for _, test := range tests {
		for what, check := range map[string]struct {
			err  error
			want bool
		}{
			"scope": {ValidScope(test.text), test.scope},
			"id":    {ValidID(test.text), test.id},
			"name":  {ValidName(test.text), test.nick},
		} {
			if (check.err == nil) != check.want {
				t.Errorf("%s as a %s: %v", test.name, what, check.err)
			}
			if check.err != nil && test.text != "" && strings.Contains(check.err.Error(), test.text) {
				t.Errorf("%s as a %s: the error quotes it", test.name, what)
			}
		}
	}
}

func TestParseNetwork(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"192.0.2.7": "192.0.2.7/32", "192.0.2.7/24": "192.0.2.0/24", "0.0.0.0/0": "0.0.0.0/0",
		"2001:db8::1": "2001:db8::1/128", "2001:db8::1/32": "2001:db8::/32",
		"::ffff:192.0.2.7": "192.0.2.7/32", "::ffff:192.0.2.7/120": "192.0.2.0/24", "::ffff:0:0/96": "0.0.0.0/0",
	} {
		if got, err := ParseNetwork(text); err != nil || got != netip.MustParsePrefix(want) {
			t.Errorf("%s: %v, %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", " 192.0.2.7", "192.0.2", "192.0.2.7/33", "192.0.2.07", "192.0.2.7/-1", "192.0.2.7/24/24",
		"fe80::1%eth0", "fe80::%eth0/64", "::ffff:0:0/95", "example.com", "*",
	} {
		if got, err := ParseNetwork(text); err == nil {
			t.Errorf("%q was read as %v", text, got)
		}
	}
}
