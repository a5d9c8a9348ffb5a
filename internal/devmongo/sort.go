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
