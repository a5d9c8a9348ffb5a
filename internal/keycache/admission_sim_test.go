package keycache

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"sort"
	"testing"

	"github.com/keytail/keytail/internal/apikey"
)

// simulation sends requests for keys of a Zipf distribution to a store, which holds a part of them.
type simulation struct {
	sizeMiB int
	// share of the keys that fit into a byteStore of this size.
	share float64
	// exponent of the Zipf distribution: 1 is common, a higher one concentrates the requests.
	exponent float64
	// traffic is what disturbs the requests.
	traffic traffic
}

type traffic string

const (
	steady traffic = "steady"
	// scanned: in the middle, each key is asked for once, as by a client that tries all of its keys.
	// Measured from there on, over as many requests as there are keys.
	scanned traffic = "scan of all keys"
	// longTail: every second request is for a key that nobody asks for again.
	longTail traffic = "long tail"
	// shifting: again and again, the most requested keys become the least requested ones.
	shifting traffic = "shifting hot keys"
	// updated: after each request, an update of any cached key stores it anew.
	updated traffic = "updates"
)

const (
	valueBytes = 250
	// warmUp and measured are numbers of requests for each key.
	warmUp, measured = 6, 4
)

// fits is the number of entries that a byteStore holds.
func (s simulation) fits() int { return s.sizeMiB << 20 / (valueBytes + storeOverhead - 8) }

func (s simulation) keys() int { return int(float64(s.fits()) / s.share) }

// ideal is the hit rate of a store that holds the most requested keys and nothing else.
func (s simulation) ideal() float64 { return zipf(s.keys(), s.exponent)[s.fits()-1] }

// zipf is the distribution of requests over ranks, cumulated.
func zipf(n int, exponent float64) []float64 {
	cumulated, sum := make([]float64, n), 0.0
	for i := range cumulated {
		sum += math.Pow(float64(i+1), -exponent)
		cumulated[i] = sum
	}
	for i := range cumulated {
		cumulated[i] /= sum
	}
	return cumulated
}

// run returns the hit rate. The seed is fixed.
func (s simulation) run(store *byteStore) float64 {
	random := rand.New(rand.NewPCG(1, 2))
	keys, distribution, value := s.keys(), zipf(s.keys(), s.exponent), make([]byte, valueBytes)
	request := func(key int) (hit bool) {
		h := simulatedHash(key)
		if store.ask(&h) != nil {
			return true
		}
		store.set(&h, value)
		return false
	}
	hits, first, last := 0, warmUp*keys, (warmUp+measured)*keys
	if s.traffic == scanned {
		last = (warmUp + 1) * keys
	}
	for i := range last {
		if s.traffic == scanned && i == first {
			for key := range keys {
				request(key)
			}
		}
		if s.traffic == longTail {
			request(keys + i)
		}
		if s.traffic == updated {
			if h := simulatedHash(random.IntN(keys)); store.get(&h) != nil {
				store.set(&h, value)
			}
		}
		rank := sort.SearchFloat64s(distribution, random.Float64())
		if s.traffic == shifting {
			// Each time that there were as many requests as keys, a hundredth of the keys changes
			// its place.
			rank = (rank + i/keys*(keys/100)) % keys
		}
		if request(rank) && i >= first {
			hits++
		}
	}
	return float64(hits) / float64(last-first)
}

// simulatedHash is random in all of its bits, and cheaper than a real one.
func simulatedHash(key int) (h apikey.Hash) {
	random := rand.NewPCG(uint64(key), 0)
	for i := 0; i < len(h); i += 8 {
		binary.BigEndian.PutUint64(h[i:], random.Uint64())
	}
	return h
}

func (s simulation) stores(tb testing.TB) (plain, onDemand *byteStore) {
	tb.Helper()
	plain, err := newByteStore(s.sizeMiB, 0)
	if err != nil {
		tb.Fatal(err)
	}
	if onDemand, err = newOnDemandStore(s.sizeMiB); err != nil {
		tb.Fatal(err)
	}
	return plain, onDemand
}

// BenchmarkHitRate reports the hit rates of a plain store (fifo) and of an on-demand store (hits),
// for the same requests, and of the ideal one:
//
//	go test -run '^$' -bench HitRate -benchtime 1x ./internal/keycache
//
// With -short it has one exponent and one share of the keys that fit.
func BenchmarkHitRate(b *testing.B) {
	exponents, shares := []float64{0.8, 1, 1.2}, []float64{0.07, 0.15, 0.3, 0.51}
	if testing.Short() {
		exponents, shares = []float64{1}, []float64{0.51}
	}
	for _, traffic := range []traffic{steady, scanned, longTail, shifting, updated} {
		for _, exponent := range exponents {
			for _, share := range shares {
				s := simulation{sizeMiB: 16, share: share, exponent: exponent, traffic: traffic}
				b.Run(fmt.Sprintf("%s/zipf=%g/fits=%g", traffic, exponent, share), func(b *testing.B) {
					for b.Loop() {
						plain, onDemand := s.stores(b)
						b.ReportMetric(s.run(plain), "fifo")
						b.ReportMetric(s.run(onDemand), "hits")
						b.ReportMetric(s.ideal(), "ideal")
					}
				})
			}
		}
	}
}
