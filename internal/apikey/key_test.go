package apikey

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"hash/crc32"
	"io"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// repeat is a reader of one repeated byte, for predictable keys.
type repeat byte

func (r repeat) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(r)
	}
	return len(p), nil
}

// The whole keys were computed with Python's integers and zlib.crc32.
func TestGenerateLayout(t *testing.T) {
	t.Parallel()
	for random, want := range map[repeat]string{
		0xff: "kt_YHJSKWDa6oz1al1yMhwzwM8llg7hJNUca2J5RoW8xP12k1YpY",
		0x00: "kt_00000000000000000000000000000000000000000003LoLEf",
		0x01: "kt_0eL6xfxWSufd8j2VgXSABOw7RzyNqrbp5D9ERWrWD293BPSlF",
	} {
		key, err := Generate("kt", random)
		if err != nil || key != want {
			t.Errorf("from bytes %#x: %s, %v, want %s", byte(random), key, err, want)
		}
		if hash, err := Parse("kt", key); err != nil || hash != sha256.Sum256([]byte(key)) {
			t.Errorf("from bytes %#x: Parse gives %x, %v", byte(random), hash, err)
		}
	}
}

func TestGenerateRefuses(t *testing.T) {
	t.Parallel()
	if _, err := Generate("kt", bytes.NewReader(make([]byte, 31))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("too little randomness: %v", err)
	}
	for _, prefix := range []string{"", "KT", "k_t", "kt-", "k t", "ké", strings.Repeat("k", 17)} {
		if _, err := Generate(prefix, nil); !errors.Is(err, ErrPrefix) {
			t.Errorf("prefix %q: %v", prefix, err)
		}
	}
	for _, prefix := range []string{"k", "kt", "0", strings.Repeat("k", 16)} {
		if _, err := Generate(prefix, nil); err != nil {
			t.Errorf("prefix %q: %v", prefix, err)
		}
	}
}

func TestGeneratedKeysDiffer(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 1000 {
		key, err := Generate(DefaultPrefix, nil)
		if err != nil || seen[key] {
			t.Fatalf("a key was generated twice, or %v", err)
		}
		seen[key] = true
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	key, err := Generate("kt", repeat(7))
	if err != nil {
		t.Fatal(err)
	}
	wrong := key[:51] + string(other(key[51]))
	tests := []struct {
		name, prefix, text string
		want               error
	}{
		{"nothing", "kt", "", ErrMissing},
		{"one byte", "kt", "k", ErrMalformed},
		{"7 bytes", "kt", "abcdefg", ErrMalformed},
		{"8 bytes", "kt", "abcdefgh", nil},
		{"512 bytes", "kt", strings.Repeat("~", 512), nil},
		{"513 bytes", "kt", strings.Repeat("~", 513), ErrMalformed},
		{"a megabyte", "kt", strings.Repeat("k", 1<<20), ErrMalformed},
		{"space", "kt", "abcd efgh", ErrMalformed},
		{"trailing newline", "kt", "abcdefgh\n", ErrMalformed},
		{"zero byte", "kt", "abcdefgh\x00", ErrMalformed},
		{"delete", "kt", "abcdefgh\x7f", ErrMalformed},
		{"not ASCII", "kt", "abcdefghé", ErrMalformed},
		{"lowest and highest byte", "kt", "!!!!~~~~", nil},
		{"ours", "kt", key, nil},
		{"ours, wrong checksum", "kt", wrong, ErrMalformed},
		{"ours, one digit changed", "kt", key[:10] + string(other(key[10])) + key[11:], ErrMalformed},
		{"ours, an invalid digit", "kt", key[:10] + "-" + key[11:], ErrMalformed},
		{"ours, checksum past 32 bits", "kt", key[:46] + "ZZZZZZ", ErrMalformed},
		{"one short is not ours", "kt", wrong[:51], nil},
		{"one long is not ours", "kt", wrong + "0", nil},
		{"another system's prefix of our length", "kt", "sk" + wrong[2:], nil},
		{"another separator", "kt", "kt-" + wrong[3:], nil},
		{"upper-case prefix is not ours", "kt", "KT" + wrong[2:], nil},
		{"another prefix configured", "zz", wrong, nil},
		{"no prefix configured", "", wrong, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			hash, err := Parse(test.prefix, test.text)
			if !errors.Is(err, test.want) {
				t.Fatalf("error %v, want %v", err, test.want)
			}
			if err == nil && hash != HashOf(test.text) {
				t.Error("not the hash of the text")
			}
			if err != nil && hash != (Hash{}) {
				t.Error("an error and a hash")
			}
		})
	}
}

func TestParseAfter(t *testing.T) {
	t.Parallel()
	key, err := Generate("kt", repeat(7))
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		after, text string
		hashed      string // empty: malformed
	}{
		"nothing left out":      {"", "abcdefgh", "abcdefgh"},
		"prefix":                {"sk_live_", "sk_live_abcdefgh", "abcdefgh"},
		"prefix twice":          {"sk_", "sk_sk_abcdefgh", "sk_abcdefgh"},
		"another prefix":        {"sk_live_", "sk_test_abcdefgh", ""},
		"upper case":            {"sk_", "SK_abcdefgh", ""},
		"within":                {"sk_", "abcdefghsk_abcdefgh", ""},
		"prefix alone":          {"sk_live_", "sk_live_", ""},
		"7 bytes left":          {"sk_live_", "sk_live_abcdefg", ""},
		"512 bytes in all":      {"sk_", "sk_" + strings.Repeat("x", 509), strings.Repeat("x", 509)},
		"513 bytes in all":      {"sk_", "sk_" + strings.Repeat("x", 510), ""},
		"space":                 {"sk_", "sk_abcd efgh", ""},
		"ours":                  {"kt_", key, key[3:]},
		"ours, wrong checksum":  {"kt_", key[:51] + string(other(key[51])), ""},
		"ours, another is left": {"kt", key, key[2:]},
	} {
		hasher, err := NewHasher(SHA256, nil, test.after)
		if err != nil {
			t.Fatal(err)
		}
		hash, err := hasher.Parse("kt", test.text)
		switch {
		case test.hashed == "" && (!errors.Is(err, ErrMalformed) || hash != Hash{}):
			t.Errorf("%s: hash %x, error %v", name, hash, err)
		case test.hashed != "" && (err != nil || hash != HashOf(test.hashed)):
			t.Errorf("%s: hash %x, error %v", name, hash, err)
		}
	}
	hasher, _ := NewHasher(SHA256, nil, "sk_")
	if _, err := hasher.Parse("kt", ""); !errors.Is(err, ErrMissing) {
		t.Errorf("no text: %v", err)
	}
}

func TestValidHashAfter(t *testing.T) {
	t.Parallel()
	for after, want := range map[string]error{
		"": nil, "sk_live_": nil, "~!": nil, strings.Repeat("x", 504): nil,
		strings.Repeat("x", 505): ErrHashAfter, "a b": ErrHashAfter, "é": ErrHashAfter, "a\n": ErrHashAfter,
	} {
		if err := ValidHashAfter(after); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", after, err, want)
		}
	}
}

// other is a digit that differs from c.
func other(c byte) byte {
	if c == 'a' {
		return 'b'
	}
	return 'a'
}

// A number past 2^256 with a correct checksum is simply an unknown key.
func TestParseDoesNotReadTheNumber(t *testing.T) {
	t.Parallel()
	text := "kt_" + strings.Repeat("Z", 43)
	text += base62(big.NewInt(int64(crc32.ChecksumIEEE([]byte(text)))), 6)
	if _, err := Parse("kt", text); err != nil {
		t.Error(err)
	}
}

func TestEveryMistypedDigitIsDetected(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "secret")
		key, err := Generate("kt", bytes.NewReader(secret))
		if err != nil {
			t.Fatal(err)
		}
		at := rapid.IntRange(3, len(key)-1).Draw(t, "at")
		digit := rapid.SampledFrom([]byte("0123456789abcxyzABCXYZ-")).Draw(t, "digit")
		typed := key[:at] + string(digit) + key[at+1:]
		if _, err := Parse("kt", typed); (err == nil) != (typed == key) {
			t.Fatalf("%q: %v", typed, err)
		}
	})
}

// TestChecksumIsCRC32 compares isChecksumValid, which has its own tables, with package hash/crc32.
func TestChecksumIsCRC32(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		head := rapid.StringMatching(`[a-z0-9]{1,16}_`).Draw(t, "head")
		digits := rapid.StringMatching(`[0-9A-Za-z]{43}`).Draw(t, "digits")
		sum := crc32.ChecksumIEEE([]byte(head + digits))
		text := head + digits + base62(new(big.Int).SetUint64(uint64(sum)), checksumDigits)
		if !isChecksumValid(text, len(head)) {
			t.Fatalf("%s: the right checksum is invalid", text)
		}
		other := head + digits + base62(new(big.Int).SetUint64(uint64(rapid.Uint32().Filter(func(n uint32) bool { return n != sum }).Draw(t, "other"))), checksumDigits)
		if isChecksumValid(other, len(head)) {
			t.Fatalf("%s: the checksum should be that of %s", other, text)
		}
	})
}

func TestHashOf(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 31, 32, 33, 512, 513, 5000} {
		text := strings.Repeat("k", n)
		if HashOf(text) != sha256.Sum256([]byte(text)) {
			t.Errorf("%d bytes have another SHA-256", n)
		}
	}
}

func TestParseAllocatesNothing(t *testing.T) {
	key, err := Generate("kt", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"ours": key, "wrong checksum": key[:51] + "-", "another maker's": strings.Repeat("k", 512),
		"long": strings.Repeat("k", 1<<16), "space": "abcd efgh", "nothing": "",
	} {
		if n := testing.AllocsPerRun(100, func() { _, _ = Parse("kt", text) }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestDisplayPrefix(t *testing.T) {
	t.Parallel()
	key, err := Generate("kt", repeat(0xff))
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ text, want string }{
		{key, key[:11]},
		{"sk_live_" + key, "sk_live_" + key[:11]},
		{"", ""},
		{"abcdefgh", "ab"},
		{"sk_live_abcdefgh", "sk_liv"},
		{"_abcdefgh", "_a"},
		{"Bearer_abcdefgh", "Bea"},
		{strings.Repeat("x", 512), "xxxxxxxx"},
	}
	for _, test := range tests {
		if got := DisplayPrefix(test.text); got != test.want {
			t.Errorf("%q: %q, want %q", test.text, got, test.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	key, err := Generate("kt", repeat(1))
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"", "k", key, key[:51] + "0", "abcdefgh", "abc\x00defgh", "é12345678"} {
		f.Add("kt", "", seed)
		f.Add("kt", "kt_", seed)
	}
	f.Fuzz(func(t *testing.T, prefix, after, text string) {
		hash, err := Hasher{after: after}.Parse(prefix, text)
		switch {
		case text == "":
			if !errors.Is(err, ErrMissing) {
				t.Fatalf("no text: %v", err)
			}
		case err != nil:
			if !errors.Is(err, ErrMalformed) || hash != (Hash{}) {
				t.Fatalf("%v, %x", err, hash)
			}
			for _, fixed := range []error{errTextLength, errTextByte, errTextChecksum, errTextHead, errTextRest} {
				if err == fixed { //nolint:errorlint // identity is the point: a fixed text cannot quote
					return
				}
			}
			t.Fatalf("an error that is not one of the fixed ones: %v", err)
		case hash != HashOf(strings.TrimPrefix(text, after)):
			t.Fatalf("wrong hash of %q after %q", text, after)
		case len(text) < 8 || len(text) > 512 || strings.Trim(text, printable()) != "":
			t.Fatalf("accepted %q", text)
		}
		if shown := DisplayPrefix(text); !strings.HasPrefix(text, shown) || (len(shown) > maxPrefixLen+1+shownChars && !IsGenerated(text)) {
			t.Fatalf("%q is shown as %q", text, shown)
		}
	})
}

// printable returns all characters from 0x21 to 0x7e.
func printable() string {
	var b strings.Builder
	for c := byte(0x21); c <= 0x7e; c++ {
		b.WriteByte(c)
	}
	return b.String()
}

func TestIsGenerated(t *testing.T) {
	for _, prefix := range []string{"kt", "0", "abcdefghij012345"} {
		text, err := Generate(prefix, nil)
		if err != nil {
			t.Fatal(err)
		}
		rest := text[len(prefix):]
		for other, want := range map[string]bool{
			text: true, text[:len(text)-1]: false, text + "0": false, "x" + text: true, "sk-" + text: true, text + " ": false, rest: false, "A" + rest: false, rest[1:]: false, "": false, "_": false,
		} {
			if got := IsGenerated(other); got != want {
				t.Errorf("prefix %s, %d bytes: got %v, want %v", prefix, len(other), got, want)
			}
		}
	}
}

// TestAKeyBehindABeginningIsGenerated: keys of a collection whose hashes leave out a beginning have it
// in front of what Generate makes.
func TestAKeyBehindABeginningIsGenerated(t *testing.T) {
	for _, after := range []string{"", "sk_live_", "sk-", "live", "kt_", "k", strings.Repeat("x", 40)} {
		hasher, err := NewHasher(SHA256, nil, after)
		if err != nil {
			t.Fatal(err)
		}
		text, _, err := hasher.Generate("kt", nil)
		if err != nil {
			t.Fatal(err)
		}
		if !IsGenerated(text) {
			t.Errorf("after %q: a key of keytail's own is not known as one", after)
		}
		if mistyped := text[:len(text)-1] + "!"; IsGenerated(mistyped) {
			t.Errorf("after %q: a text with a wrong checksum counts as a key", after)
		}
	}
}
