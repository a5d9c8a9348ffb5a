package devmongo

import (
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func splitPath(path string) []string { return strings.Split(path, ".") }

// compileSort returns a stable in-place sort.
func compileSort(spec bson.D) (func([]*row), error) {
	for _, e := range spec {
		n, ok := number(e.Value)
		if !ok && !isNumber(e.Value) {
			return nil, refuse(15974, "Illegal key in $sort specification: %s: %v", e.Key, e.Value)
		}
		if n != 1 && n != -1 {
			return nil, refuse(15975, "$sort key ordering must be 1 (for ascending) or -1 (for descending)")
		}
		if strings.HasPrefix(e.Key, "$") || e.Key == "" {
			return nil, refuse(16410, "FieldPath field names may not start with '$' or be empty")
		}
	}
	if len(spec) == 0 {
		return func([]*row) {}, nil
	}
	return func(rows []*row) {
		keys := make(map[*row][]any, len(rows))
		for _, r := range rows {
			keys[r] = sortKey(r.decoded(), spec)
		}
		slices.SortStableFunc(rows, func(a, b *row) int { return compareKeys(spec, keys[a], keys[b]) })
	}, nil
}

func compareKeys(spec bson.D, a, b []any) int {
	for i, e := range spec {
		if c := compare(a[i], b[i]); c != 0 {
			n, _ := number(e.Value)
			return c * int(n)
		}
	}
	return 0
}

// sortKey returns the values to sort by. An array counts as its least element in an
// ascending sort and as its greatest in a descending one.
func sortKey(d bson.D, spec bson.D) []any {
	key := make([]any, len(spec))
	for i, e := range spec {
		n, _ := number(e.Value)
		values, _, _ := indexValues(d, splitPath(e.Key))
		best := values[0]
		for _, v := range values[1:] {
			if compare(v, best)*int(n) < 0 {
				best = v
			}
		}
		key[i] = best
	}
	return key
}

// sortMemory is how many bytes of documents may be sorted in memory. A negative value
// means that the sort may use the disk, without a limit.
type sortMemory int64

// sortMemory reads allowDiskUse.
func (o *op) sortMemory() sortMemory {
	if o.a.boolean("allowDiskUse") {
		return -1
	}
	return sortMemory(o.s.cfg.SortMemory)
}

// check returns an error when the documents exceed the memory. With a limit, MongoDB
// keeps only that many documents in memory; here all documents count. A query that
// passes here therefore passes on MongoDB, too.
func (memory sortMemory) check(rows []*row) error {
	if memory < 0 {
		return nil
	}
	total := sortMemory(0)
	for _, r := range rows {
		if total += sortMemory(len(r.raw)); total > memory {
			return refuse(codeSortMemory, "Executor error during find command :: caused by :: Sort exceeded memory limit of %d bytes, but did not opt in to external sorting.", memory)
		}
	}
	return nil
}

// serves reports whether an index has the documents in this order, forwards or
// backwards, so that no sort is needed.
func (c *collection) serves(sort bson.D) bool {
	if c == nil || sort[0].Key == "_id" {
		return true
	}
	for _, x := range c.indexes {
		if x.isWhole() && len(x.key) >= len(sort) && sameOrder(x.key, sort) {
			return true
		}
	}
	return false
}

func sameOrder(key, sort bson.D) bool {
	forward, backward := true, true
	for i, e := range sort {
		a, ok := number(key[i].Value)
		b, _ := number(e.Value)
		forward = forward && ok && key[i].Key == e.Key && a == b
		backward = backward && ok && key[i].Key == e.Key && a == -b
	}
	return forward || backward
}
