package doctor

import (
	"fmt"
	"sort"

	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/preload"
)

// memory checks whether all keys fit into the cache.
func (e *examination) memory() {
	switch {
	case e.survey == nil:
		e.skip("the documents could not be read", "memory")
		return
	case e.survey.Documents == 0:
		e.add("memory", OK, "the collection is empty, so there is nothing to cache yet")
		return
	}
	keys := max(e.survey.Total, int64(e.survey.Documents))
	each := max(1, e.entries/int64(e.survey.Documents))
	need := each * keys
	complete := e.Preload != preload.Off
	size, available := e.cacheSize(), keycache.GenerationBytes(e.CacheSizeMiB, complete)
	detail := fmt.Sprintf("%s of about %d bytes take %s of %s; --cache-size %d holds at least %s of this size",
		count(int(keys), "key"), each, mebibytes(need), mebibytes(available), size, count(rounded(available/each), "key"))
	more := explainSize(size, available, complete)
	if complete && need <= available && 2*need > available {
		more += fmt.Sprintf("; use --cache-size %d or more for space for both", sizeFor(2*need, complete))
	}
	enough := fmt.Sprintf("use --cache-size %d or more", sizeFor(need, complete))
	switch {
	case e.Preload == preload.Off:
		e.add("memory", OK, detail+"; --preload off: only keys in use are cached", more)
	case need > available && e.Preload == preload.On:
		e.add("memory", ToDo, detail+": they do not fit; "+enough+", or --preload auto", more)
	case need > available:
		e.add("memory", Warning, detail+": they do not fit, so an unknown key costs a read; "+enough, more)
	default:
		e.add("memory", OK, detail, more)
	}
}

func (e *examination) cacheSize() int {
	if e.CacheSizeMiB == 0 {
		return keycache.DefaultSizeMiB
	}
	return e.CacheSizeMiB
}

// explainSize says why less than the cache's size is available for keys.
func explainSize(sizeMiB int, available int64, complete bool) string {
	unknown := keycache.NegativeBytes(sizeMiB)
	if !complete {
		return fmt.Sprintf("of the %d MiB, %s are for keys and %s for the hashes of unknown keys", sizeMiB, mebibytes(available), mebibytes(unknown))
	}
	return fmt.Sprintf("of the %d MiB, %s are for keys, %s for keys that have changed since the last scan, and %s for the hashes of unknown keys; if keys take more than half of theirs, there is no space for a second copy, so they are read on demand while the cache is filled again after very many changes",
		sizeMiB, mebibytes(available), mebibytes(keycache.OverlayBytes(sizeMiB)), mebibytes(unknown))
}

// spare is added to what keys need, as a part of it: the cache consists of parts
// that do not fill evenly, and a collection grows.
const spare = 10

// sizeFor returns the smallest size of a cache, in MiB, in which keys of so many
// bytes fit.
func sizeFor(need int64, complete bool) int {
	const smallest, largest = 3, 1 << 20 // the limits of --cache-size
	return smallest + sort.Search(largest-smallest, func(more int) bool {
		return keycache.GenerationBytes(smallest+more, complete) >= need+need/spare
	})
}

// rounded returns a number with two significant digits, rounded down: it is an
// estimate.
func rounded(n int64) int {
	unit := int64(1)
	for n/unit >= 100 {
		unit *= 10
	}
	return int(n / unit * unit)
}

func mebibytes(bytes int64) string { return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20)) }
