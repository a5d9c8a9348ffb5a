package fleetsim

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/keytail/keytail/internal/preload"
)

// Costs are what scans take.
type Costs struct {
	// DocumentBytes is the size of a document on the wire.
	DocumentBytes float64
	// InstanceRate is how many documents a second one instance can store. MemberRate is how many
	// one member of the replica set can send, to all instances together.
	InstanceRate, MemberRate float64
	// BytesPerKey is the memory of a key in a cache.
	BytesPerKey float64
}

// Scan is how long the scan of one instance takes while no other one scans.
func (c Costs) Scan(keys float64) time.Duration {
	return seconds(keys / min(c.InstanceRate, c.MemberRate))
}

// Recovery is what follows a loss that all instances have at the same moment.
type Recovery struct {
	// Half and Last are how long it takes until half of the instances, and all of them, have a
	// complete cache again. Until then an instance reads keys on demand.
	Half, Last time.Duration
	// AtOnce is the most scans that a member serves at the same time.
	AtOnce int
}

// Recover simulates that. members is how many members of the replica set serve scans.
func Recover(instances, members int, keys float64, c Costs) Recovery {
	scan := c.Scan(keys)
	starts := make([]float64, instances)
	for i := range starts {
		starts[i] = preload.ScanDelay(instances, scan, rand.Float64()).Seconds()
	}
	var ends []float64
	atOnce := 0
	for m := range members {
		var mine []float64
		for i := m; i < instances; i += members {
			mine = append(mine, starts[i])
		}
		done, most := share(mine, keys, c)
		ends, atOnce = append(ends, done...), max(atOnce, most)
	}
	slices.Sort(ends)
	return Recovery{Half: seconds(ends[(len(ends)-1)/2]), Last: seconds(ends[len(ends)-1]), AtOnce: atOnce}
}

// running is a scan in progress.
type running struct{ left float64 }

// share returns when scans end that begin at these times, in seconds, on one member that
// divides its rate evenly among them, and the most that run at the same time.
func share(starts []float64, keys float64, c Costs) (ends []float64, atOnce int) {
	slices.SortFunc(starts, cmp.Compare)
	var now float64
	var active []running
	for len(starts) > 0 || len(active) > 0 {
		rate := min(c.InstanceRate, c.MemberRate/float64(max(1, len(active))))
		next := -1.0
		if len(active) > 0 {
			next = now + slices.MinFunc(active, func(a, b running) int { return cmp.Compare(a.left, b.left) }).left/rate
		}
		begins := len(starts) > 0 && (next < 0 || starts[0] <= next)
		if begins {
			next = starts[0]
		}
		for i := range active {
			active[i].left -= rate * (next - now)
		}
		now = next
		if begins {
			active, starts = append(active, running{keys}), starts[1:]
			atOnce = max(atOnce, len(active))
			continue
		}
		active = slices.DeleteFunc(active, func(r running) bool {
			done := r.left <= keys*1e-9
			if done {
				ends = append(ends, now)
			}
			return done
		})
	}
	return ends, atOnce
}

// Audits is the share of the time in which each instance audits, and how many documents a
// second all of them read for it.
func Audits(instances int, keys float64, c Costs) (share, documents float64) {
	scan := c.Scan(keys)
	interval := preload.AuditInterval(preload.DefaultAuditInterval, instances, scan)
	return scan.Seconds() / interval.Seconds(), float64(instances) * keys / interval.Seconds()
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
