// Package timing has the two helpers of everything that waits: a sleep that ends
// with its context, and a jitter for intervals. It depends on nothing but the
// standard library, so every package may use it.
package timing

import (
	"context"
	"math/rand/v2"
	"time"
)

// Sleep waits until d has passed or ctx ends. It reports whether ctx is still
// open. A d of zero or less does not wait.
func Sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	return wait(ctx, timer.C)
}

// SleepOn is Sleep on another clock: after returns a channel that delivers when
// a time has passed, like time.After.
func SleepOn(ctx context.Context, after func(time.Duration) <-chan time.Time, d time.Duration) bool {
	return wait(ctx, after(d))
}

func wait(ctx context.Context, passed <-chan time.Time) bool {
	select {
	case <-passed:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// Jitter returns d, longer or shorter by a random share of up to fraction (0.1
// is a tenth). Without it, instances that were started at the same moment would
// do their periodic work at the same moment forever.
func Jitter(d time.Duration, fraction float64) time.Duration {
	return JitterBy(rand.Float64, d, fraction)
}

// JitterBy is Jitter with another source of random numbers in [0, 1).
func JitterBy(random func() float64, d time.Duration, fraction float64) time.Duration {
	return d + time.Duration(fraction*(2*random()-1)*float64(d))
}
