package apikey

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/keytail/keytail/internal/alloctest"
)

// mustHasher returns a hasher for a key's whole text.
func mustHasher(t testing.TB, algorithm HashAlgorithm, secret []byte) Hasher {
	t.Helper()
	h, err := NewHasher(algorithm, secret, "")
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestHMACOfRFC4231: the test cases 1 to 4, 6 and 7 of RFC 4231, section 4. The texts of its cases
// are not keys, so this test calls what hashes them.
func TestHMACOfRFC4231(t *testing.T) {
	t.Parallel()
	counting := make([]byte, 25)
	for i := range counting {
		counting[i] = byte(i + 1)
	}
	for name, test := range map[string]struct {
		secret []byte
		text   string
		want   string
	}{
		"1": {bytes.Repeat([]byte{0x0b}, 20), "Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
		"2": {[]byte("Jefe"), "what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
		"3": {bytes.Repeat([]byte{0xaa}, 20), strings.Repeat("\xdd", 50), "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
		"4": {counting, strings.Repeat("\xcd", 50), "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"},
		"6": {bytes.Repeat([]byte{0xaa}, 131), "Test Using Larger Than Block-Size Key - Hash Key First", "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
		"7": {bytes.Repeat([]byte{0xaa}, 131), "This is a test using a larger than block-size key and a larger than block-size data. The key needs to be hashed before being used by the HMAC algorithm.", "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"},
	} {
		k := mustHasher(t, HMACSHA256, test.secret).keyed
		for range 3 { // with a new state, and with used ones
			if got := k.hash(test.text); got.Hex() != test.want {
				t.Errorf("case %s: %s", name, got.Hex())
			}
		}
	}
}

func TestAlgorithmsHashTheSamePart(t *testing.T) {
	t.Parallel()
	secret := []byte("a secret of more than 16 bytes")
	for algorithm, hash := range map[HashAlgorithm]func(text string) []byte{
		"":     func(text string) []byte { sum := sha256.Sum256([]byte(text)); return sum[:] },
		SHA256: func(text string) []byte { sum := sha256.Sum256([]byte(text)); return sum[:] },
		HMACSHA256: func(text string) []byte {
			mac := hmac.New(sha256.New, secret)
			mac.Write([]byte(text))
			return mac.Sum(nil)
		},
	} {
		var with []byte
		if algorithm == HMACSHA256 {
			with = secret
		}
		h, err := NewHasher(algorithm, with, "sk_")
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{8, 9, 31, 64, 509} {
			rest := strings.Repeat("k", n)
			got, err := h.Parse("kt", "sk_"+rest)
			if err != nil || !bytes.Equal(got[:], hash(rest)) {
				t.Errorf("%q, %d bytes: %x, %v", algorithm, n, got, err)
			}
		}
		if _, err := h.Parse("kt", "kt_abcdefgh"); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: a key with another beginning: %v", algorithm, err)
		}
	}
}

func TestASecretFitsItsAlgorithm(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		algorithm HashAlgorithm
		secret    []byte
		after     string
		want      error
	}{
		"hmac without a secret":      {HMACSHA256, nil, "", ErrSecretMissing},
		"hmac with an empty secret":  {HMACSHA256, []byte{}, "", ErrSecretMissing},
		"sha256 with a secret":       {SHA256, []byte("s"), "", ErrSecretUnused},
		"the default with a secret":  {"", []byte("s"), "", ErrSecretUnused},
		"an impossible beginning":    {SHA256, nil, "a b", ErrHashAfter},
		"hmac with a short secret":   {HMACSHA256, []byte("s"), "", nil},
		"sha256 with an empty slice": {SHA256, []byte{}, "", nil},
	} {
		if _, err := NewHasher(test.algorithm, test.secret, test.after); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NewHasher("md5", nil, ""); err == nil {
		t.Error("there is no md5")
	}
}

// TestAHasherCopiesItsSecret, and shows it in no way of printing.
func TestAHasherCopiesItsSecret(t *testing.T) {
	t.Parallel()
	secret := []byte("pepper of the test")
	h := mustHasher(t, HMACSHA256, secret)
	want, err := h.Parse("kt", "abcdefgh")
	if err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		text := fmt.Sprintf(format, struct{ H Hasher }{h}) + fmt.Sprintf(format, h.keyed)
		if strings.Contains(text, string(secret)) || strings.Contains(text, hex.EncodeToString(secret)) || strings.Contains(text, fmt.Sprint(secret)[1:20]) {
			t.Errorf("%s shows the secret: %s", format, text)
		}
	}
	clear(secret)
	h.keyed.states.New() // a state that is made later has the same secret
	if got, _ := (Hasher{keyed: &keyedHasher{states: sync.Pool{New: h.keyed.states.New}}}).Parse("kt", "abcdefgh"); got != want {
		t.Error("the hasher changes with the caller's slice")
	}
}

func TestOneHasherServesConcurrentCalls(t *testing.T) {
	t.Parallel()
	h := mustHasher(t, HMACSHA256, []byte("pepper of the test"))
	var wg sync.WaitGroup
	for i := range 8 {
		text := strings.Repeat(string(rune('a'+i)), 8+i)
		want, err := h.Parse("kt", text)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			for range 500 {
				if got, err := h.Parse("kt", text); got != want || err != nil {
					t.Errorf("%x, %v", got, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestNothingOfAKeyStaysInAnIdleState: a state waits in the pool for long.
func TestNothingOfAKeyStaysInAnIdleState(t *testing.T) {
	t.Parallel()
	k := mustHasher(t, HMACSHA256, []byte("pepper of the test")).keyed
	const text = "kt_a key that must not stay"
	holdsText := func(s *keyedState) bool { return bytes.Contains(bytesWithin(reflect.ValueOf(s)), []byte(text[4:])) }
	s := k.states.New().(*keyedState) //nolint:forcetypeassert // the pool has nothing else
	for _, use := range []string{"first", "second"} {
		s.hash(text)
		if holdsText(s) {
			t.Errorf("the state has the text after its %s use", use)
		}
	}
	if _, _ = s.mac.Write([]byte(text)); !holdsText(s) {
		t.Error("this test does not see what a state holds")
	}
}

// bytesWithin returns all bytes that can be reached from a value.
func bytesWithin(v reflect.Value) []byte {
	var all []byte
	switch v.Kind() { //nolint:exhaustive // others hold no bytes
	case reflect.Pointer, reflect.Interface:
		return bytesWithin(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			all = append(all, bytesWithin(v.Field(i))...)
		}
	case reflect.Array, reflect.Slice:
		for i := range v.Len() {
			all = append(all, bytesWithin(v.Index(i))...)
		}
	case reflect.Uint8:
		all = append(all, byte(v.Uint()))
	}
	return all
}

// TestHashingAllocatesNothing, whatever the algorithm.
func TestHashingAllocatesNothing(t *testing.T) {
	key, err := Generate("kt", nil)
	if err != nil {
		t.Fatal(err)
	}
	for algorithm, secret := range map[HashAlgorithm][]byte{SHA256: nil, HMACSHA256: []byte("pepper of the test")} {
		h, err := NewHasher(algorithm, secret, "kt_")
		if err != nil {
			t.Fatal(err)
		}
		if n := alloctest.PerCall(func() { _, _ = h.Parse("kt", key) }); n != 0 {
			t.Errorf("%s: %v allocations", algorithm, n)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	key, err := Generate("kt", nil)
	if err != nil {
		b.Fatal(err)
	}
	for algorithm, secret := range map[HashAlgorithm][]byte{SHA256: nil, HMACSHA256: bytes.Repeat([]byte{7}, 32)} {
		h := mustHasher(b, algorithm, secret)
		b.Run(string(algorithm), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = h.Parse("kt", key)
			}
		})
		b.Run(string(algorithm)+"-parallel", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					_, _ = h.Parse("kt", key)
				}
			})
		})
	}
}
