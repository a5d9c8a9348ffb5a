package validator

import (
	"context"
	"testing"

	"github.com/keytail/keytail/internal/alloctest"
	"github.com/keytail/keytail/internal/apikey"
)

// hitRig returns a validator whose cache has the key of the tests, by this algorithm.
func hitRig(t testing.TB, algorithm apikey.HashAlgorithm) *rig {
	t.Helper()
	var secret []byte
	if algorithm == apikey.HMACSHA256 {
		secret = []byte("pepper of the validator's tests")
	}
	hasher, err := apikey.NewHasher(algorithm, secret, "")
	if err != nil {
		t.Fatal(err)
	}
	hash, err := hasher.Parse("kt", text)
	if err != nil {
		t.Fatal(err)
	}
	r := live(t, func(c *Config) { c.Hasher = hasher })
	r.store.put(hash, document("u1"))
	mustBe(t, r.validate(), apikey.Valid, apikey.SourceFill)
	mustBe(t, r.validate(), apikey.Valid, apikey.SourceCache)
	return r
}

func TestAHitAllocatesTheSameByEachAlgorithm(t *testing.T) {
	least := map[apikey.HashAlgorithm]float64{}
	for _, algorithm := range apikey.HashAlgorithms() {
		r := hitRig(t, algorithm)
		least[algorithm] = alloctest.PerCall(func() { r.validate() })
	}
	if least[apikey.SHA256] != least[apikey.HMACSHA256] {
		t.Errorf("allocations of a hit: %v", least)
	}
}

func BenchmarkHit(b *testing.B) {
	for _, algorithm := range apikey.HashAlgorithms() {
		r := hitRig(b, algorithm)
		b.Run(string(algorithm), func(b *testing.B) {
			b.ReportAllocs()
			request := &apikey.Request{}
			for b.Loop() {
				r.Validate(context.Background(), text, request)
			}
		})
	}
}
