package usage

import (
	"sync/atomic"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
)

const (
	// BatchSize is the size of a command at first, and the size to which it
	// grows back: about 200 KB, and a few tens of milliseconds.
	BatchSize = 1000
	// batchTimeout is the deadline of one command.
	batchTimeout = 3 * time.Second
	// stopTimeout is the deadline of the last flush. Together with the command
	// in progress, and with the time that HTTP had before, a shutdown stays
	// near the 30 s that orchestrators allow.
	stopTimeout = 5 * time.Second
	// stopBatchTimeout is the deadline of one command of the last flush: if a
	// few time out, there is time left for smaller ones.
	stopBatchTimeout = time.Second
)

// batch is how many keys go into one command. It is halved when a command times
// out: a database that cannot write a thousand keys in time may be able to
// write fifty. It grows again while commands take much less time than their
// limit, and so slowly that the next command does not time out if its time is
// proportional to its size.
//
// Only a flush changes it.
type batch struct{ size atomic.Int64 }

func (b *batch) init() { b.size.Store(BatchSize) }

// sizeFor returns how many keys go into a command with the deadline limit. The
// size is for batchTimeout; with less time, only fewer keys can be written.
func (b *batch) sizeFor(limit time.Duration) int {
	return max(1, int(b.size.Load()*int64(limit)/int64(batchTimeout)))
}

// observe records that n keys took this long, with that limit.
func (b *batch) observe(n int, took, limit time.Duration) {
	if n < b.sizeFor(limit) || took > limit*3/4 {
		return // the end of a flush is no measure of a whole batch
	}
	size := b.size.Load()
	b.size.Store(min(size+max(1, size/4), BatchSize))
}

// halve records that n keys took longer than limit. It reports whether a
// smaller batch is possible.
func (b *batch) halve(n int, limit time.Duration) bool {
	// The command may have been smaller than a whole batch.
	sent := int64(n) * int64(batchTimeout) / int64(limit)
	b.size.Store(max(1, min(b.size.Load(), sent)/2))
	return n > 1
}

// isTooSlow reports whether a command reached the server and did not end in
// time. A smaller one may.
func isTooSlow(err error) bool { return mongo.IsTimeout(err) && !wasNotApplied(err) }
