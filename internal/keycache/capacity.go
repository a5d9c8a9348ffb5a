package keycache

import (
	"math/bits"

	"github.com/keytail/keytail/internal/apikey"
)

// storeOverhead is the number of bytes that bigcache keeps beside a value: the time, the hash, the
// length and the text of its key, and at most two bytes for the entry's own length.
const storeOverhead = 8 + 8 + 2 + keyBytes + 2

// unevenness is added to an entry's size, as a part of it: the parts of a store do not fill evenly.
const unevenness = 16

// EntryBytes is how much of the cache's size a key takes in a cache of this kind, in bytes: an upper
// bound, for estimates. A key that has changed since the last scan takes more, in a part of the
// cache that is kept for those. A record over MaxRecordBytes leaves only a marker.
func EntryBytes(id apikey.DocID, record *apikey.Record, complete bool) int {
	size, body := sharedBytes+storeOverhead, bodySize(id, record)
	if !complete {
		size += stampedBytes
	}
	if body <= MaxRecordBytes {
		size += body
	}
	return size + size/unevenness
}

// GenerationBytes is how many bytes of a cache of this size found keys may take. With complete set,
// there must be space for those that have changed since the scan. A size of zero means
// DefaultSizeMiB.
func GenerationBytes(sizeMiB int, complete bool) int64 {
	return int64(splitSize(sizeOrDefault(sizeMiB), complete).base) << 20
}

// OverlayBytes is how many bytes of a cache of this size are for keys that have changed since the
// last scan. A size of zero means DefaultSizeMiB.
func OverlayBytes(sizeMiB int) int64 {
	return int64(splitSize(sizeOrDefault(sizeMiB), true).overlay) << 20
}

// NegativeBytes is how many bytes of a cache of this size are for negatives, whatever happens. A
// size of zero means DefaultSizeMiB.
func NegativeBytes(sizeMiB int) int64 {
	return int64(splitSize(sizeOrDefault(sizeMiB), false).negatives) << 20
}

func sizeOrDefault(sizeMiB int) int {
	if sizeMiB == 0 {
		return DefaultSizeMiB
	}
	return sizeMiB
}

// uvarintSize is the number of bytes of a length.
func uvarintSize(n int) int { return (bits.Len64(uint64(n)|1) + 6) / 7 }

// textSize is the number of bytes of a text with its length.
func textSize(n int) int { return uvarintSize(n) + n }
