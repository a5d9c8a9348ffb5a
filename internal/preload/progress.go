package preload

import (
	"context"
	"math"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// A scan of a small collection takes less than progressAfter, and needs no line in
// the log. A person who waits for a longer one sees a line each progressEvery.
const (
	progressAfter = 5 * time.Second
	progressEvery = 10 * time.Second
)

// progress is how far the running scan is. Many goroutines read it.
type progress struct {
	began    time.Time
	expected int64
	read     atomic.Int64
}

// Progress is how far a scan of the collection is.
type Progress struct {
	// Since is when the scan began to read.
	Since time.Time
	// Read is how many documents it has read, Expected how many there are by the
	// collection's metadata, which can be wrong. Zero: not known.
	Read, Expected int64
	// PerSecond is how many documents it has read per second.
	PerSecond float64
	// Left is about how long it will still take. Negative: not known.
	Left time.Duration
}

// Percent is how much of the collection has been read. Negative: not known. It is
// below 100 until the scan has ended.
func (p *Progress) Percent() int {
	if p.Expected == 0 {
		return -1
	}
	return int(min(99, 100*p.Read/p.Expected))
}

// Progress returns how far the running scan is. False: none is running.
func (p *Loader) Progress() (Progress, bool) {
	running := p.running.Load()
	if running == nil {
		return Progress{}, false
	}
	return running.at(time.Now()), true
}

// at is the progress at this time. The rate is that since the scan began, so a
// pause of the server does not make the time left jump.
func (p *progress) at(now time.Time) Progress {
	a := Progress{Since: p.began, Read: p.read.Load(), Expected: p.expected, Left: -1}
	if took := now.Sub(p.began).Seconds(); took > 0 {
		a.PerSecond = float64(a.Read) / took
	}
	if a.Read > 0 && a.Expected > 0 && a.PerSecond > 0 {
		seconds := float64(max(0, a.Expected-a.Read)) / a.PerSecond
		a.Left = time.Duration(min(seconds, math.MaxInt32) * float64(time.Second))
	}
	return a
}

// log writes a line at intervals until ctx ends.
func (p *progress) log(ctx context.Context, logger *zap.Logger) {
	timer := time.NewTimer(progressAfter)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		timer.Reset(progressEvery)
		now := p.at(time.Now())
		logger.Info("the collection is being read", now.fields()...)
	}
}

func (p *Progress) fields() []zap.Field {
	fields := []zap.Field{zap.Int64("keys_read", p.Read), zap.Int("keys_per_second", int(p.PerSecond))}
	if percent := p.Percent(); percent >= 0 {
		fields = append(fields, zap.Int64("keys_expected", p.Expected), zap.Int("percent", percent))
	}
	if p.Left >= 0 {
		fields = append(fields, zap.Duration("left", p.Left.Round(time.Second)))
	}
	return fields
}
