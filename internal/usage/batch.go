package usage

import (
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
)

const (
	// batchSize is what one command begins with and grows back to: some 200 KB, and a
	// few tens of milliseconds.
	batchSize = 1000
	// batchTimeout is for one command.
	batchTimeout = 3 * time.Second
	// stopTimeout is for the last flush. With the command in flight, and with what
	// HTTP has been given before, it stays near the 30 s that orchestrators allow.
	stopTimeout = 5 * time.Second
	// stopBatchTimeout is for one command of the last flush: a few that time out leave
	// time for smaller ones.
	stopBatchTimeout = time.Second
)

// batch is how many keys go into one command. It is halved when a command times
// out: a database that cannot write a thousand keys in time may well write fifty.
// It grows again while commands take much less than their limit, so slowly that
// the next one does not time out if its time is proportional to its size.
//
// Only a flush changes it.
type batch struct{ size atomic.Int64 }

func (b *batch) init() { b.size.Store(batchSize) }

// within is how many keys go into a command that may take limit. The size is for
// batchTimeout; with less time, fewer keys have a chance.
func (b *batch) within(limit time.Duration) int {
	return max(1, int(b.size.Load()*int64(limit)/int64(batchTimeout)))
}

// wrote takes note that n keys took so long, with that limit.
func (b *batch) wrote(n int, took, limit time.Duration) {
	if n < b.within(limit) || took > limit*3/4 {
		return // the end of a flush says little about a whole batch
	}
	size := b.size.Load()
	b.size.Store(min(size+max(1, size/4), batchSize))
}

// halve takes note that n keys took longer than limit. It reports whether there is
// a smaller batch.
func (b *batch) halve(n int, limit time.Duration) bool {
	// What was sent may have been less than a whole batch.
	sent := int64(n) * int64(batchTimeout) / int64(limit)
	b.size.Store(max(1, min(b.size.Load(), sent)/2))
	return n > 1
}

// tooSlow reports whether a command reached the server and was not done in time,
// which a smaller one may be.
func tooSlow(err error) bool { return mongo.IsTimeout(err) && !notApplied(err) }
