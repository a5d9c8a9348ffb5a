package historycheck

import (
	"slices"
	"sort"
)

// acknowledgement is one report that instances have applied writes.
type acknowledgement struct {
	line     int
	at       instant
	covers   instant // always: not given
	revision uint64  // zero: not given
}

// acknowledgements are those of one scope. After finish they are sorted by time, and best
// has for each the strongest so far.
type acknowledgements struct {
	all []acknowledgement
	// byCovers and byRevision are indexes into all, or -1: at i the latest covers, or the
	// highest revision, of all[0] to all[i].
	byCovers, byRevision []int
}

func (a *acknowledgements) finish() {
	slices.SortStableFunc(a.all, func(x, y acknowledgement) int {
		switch {
		case x.at < y.at:
			return -1
		case x.at > y.at:
			return 1
		}
		return 0
	})
	covers, revision := -1, -1
	for i := range a.all {
		if x := &a.all[i]; x.covers != always && (covers < 0 || x.covers > a.all[covers].covers) {
			covers = i
		}
		if x := &a.all[i]; x.revision != 0 && (revision < 0 || x.revision > a.all[revision].revision) {
			revision = i
		}
		a.byCovers, a.byRevision = append(a.byCovers, covers), append(a.byRevision, revision)
	}
}

// before returns the strongest acknowledgements that arrived before a time: by what they
// cover, and by revision. Nil: none.
func (a *acknowledgements) before(at instant) (covers, revision *acknowledgement) {
	if a == nil {
		return nil, nil
	}
	n := sort.Search(len(a.all), func(i int) bool { return a.all[i].at >= at })
	if n == 0 {
		return nil, nil
	}
	if i := a.byCovers[n-1]; i >= 0 {
		covers = &a.all[i]
	}
	if i := a.byRevision[n-1]; i >= 0 {
		revision = &a.all[i]
	}
	return covers, revision
}
