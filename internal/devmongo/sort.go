package devmongo

import (
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func splitPath(path string) []string { return strings.Split(path, ".") }

// compileSort makes a function that sorts rows in place and keeps the order of
// equals.
func compileSort(spec bson.D) (func([]*row), error) {
	for _, e := range spec {
		if n, ok := number(e.Value); !ok || (n != 1 && n != -1) {
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

// sortKey takes, of an array, the least element for an ascending and the
// greatest for a descending sort.
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

// sortRoom is how much may be sorted in memory. A negative one is no limit: that of
// a sort that may use the disk.
type sortRoom int64

// sortRoom takes the command's allowDiskUse.
func (o *op) sortRoom() sortRoom {
	if o.a.boolean("allowDiskUse") {
		return -1
	}
	return sortRoom(o.s.cfg.SortMemory)
}

// check refuses to sort more. With a limit, MongoDB holds no more than so many
// documents; here all count, which is stricter: what passes here passes there.
func (room sortRoom) check(rows []*row) error {
	if room < 0 {
		return nil
	}
	total := sortRoom(0)
	for _, r := range rows {
		if total += sortRoom(len(r.raw)); total > room {
			return refuse(codeSortMemory, "Executor error during find command :: caused by :: Sort exceeded memory limit of %d bytes, but did not opt in to external sorting.", room)
		}
	}
	return nil
}

// serves reports whether an index has the documents in this order, in one
// direction or the other, so that nothing has to be sorted.
func (c *collection) serves(sort bson.D) bool {
	if c == nil || sort[0].Key == "_id" {
		return true
	}
	for _, x := range c.indexes {
		if x.filter == nil && !x.sparse && len(x.key) >= len(sort) && sameOrder(x.key, sort) {
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
