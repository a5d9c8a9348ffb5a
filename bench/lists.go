package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keytail/keytail/internal/keystore"
)

var listsRow = row{
	name:         "lists",
	title:        "a list of all keys, page by page",
	measures:     "the whole list that the admin API gives, in pages of 100 keys, of a collection with the indexes of --ensure-schema, on a server that reads an index from a position on (--uri): 500,000 and 1,000,000 keys",
	comparedWith: "the collection with half as many keys; and the first tenth of the pages with the last",
	goals:        "at most 1.25 times the time for a key with twice as many keys, and at most 1.5 times the time for a page at the end of the list",
	run:          measureLists,
	server:       true,
	needsURI:     "secantusd-py sorts the whole collection for each page",
}

const listPageKeys = 100

func measureLists(ctx context.Context, e *env, r *result) error {
	n := e.size(500_000, 200)
	t := table{Title: "A whole list", Head: []string{"keys", "pages", "seconds", "µs for a key", "first tenth, ms a page", "last tenth, ms a page"}}
	var walks []listWalk
	for _, keys := range []int{n, 2 * n} {
		w, err := walkListOf(ctx, e, keys)
		if err != nil {
			return err
		}
		walks = append(walks, w)
		t.Rows = append(t.Rows, w.row())
	}
	half, whole := walks[0], walks[1]
	r.goal(goal{Name: "time for a key, relative to half as many keys", Got: whole.perKey() / half.perKey(), Sign: "<=", Want: 1.25, Rounds: 1})
	r.goal(goal{Name: "time for a page, the last tenth relative to the first", Got: whole.tenth(9) / whole.tenth(0), Sign: "<=", Want: 1.5, Rounds: 1})
	r.table(t)
	return nil
}

// listWalk has the seconds of each page of a list.
type listWalk struct {
	keys  int
	pages []float64
}

func (w listWalk) seconds() (sum float64) {
	for _, s := range w.pages {
		sum += s
	}
	return sum
}

func (w listWalk) perKey() float64 { return w.seconds() / float64(w.keys) }

// tenth returns the median of a page, in the i-th tenth of the pages.
func (w listWalk) tenth(i int) float64 {
	n := len(w.pages)
	return median(w.pages[n*i/10 : max(n*(i+1)/10, n*i/10+1)])
}

func (w listWalk) row() []string {
	return []string{
		fmt.Sprint(w.keys), fmt.Sprint(len(w.pages)), fmt.Sprintf("%.1f", w.seconds()), fmt.Sprintf("%.1f", w.perKey()*1e6),
		fmt.Sprintf("%.2f", w.tenth(0)*1e3), fmt.Sprintf("%.2f", w.tenth(9)*1e3),
	}
}

func walkListOf(ctx context.Context, e *env, keys int) (listWalk, error) {
	e.progress("inserting %d keys", keys)
	c, err := e.newCollection(ctx, keys)
	if err != nil {
		return listWalk{}, err
	}
	defer c.drop()
	c.forget()
	store, err := keystore.New(keystore.Config{Client: c.client, Database: c.Database().Name()})
	if err != nil {
		return listWalk{}, err
	}
	e.progress("building the indexes for lists")
	if _, err := store.CreateListIndexes(ctx); err != nil {
		return listWalk{}, err
	}
	return walkList(ctx, store, keys)
}

// walkList reads the list from its beginning to its end.
func walkList(ctx context.Context, store *keystore.Store, keys int) (listWalk, error) {
	w := listWalk{keys: keys}
	q := keystore.Query{Limit: listPageKeys, IncludeInactive: true}
	for seen := 0; ; {
		page, took, err := readListPage(ctx, store, q)
		if err != nil {
			return w, err
		}
		w.pages = append(w.pages, took.Seconds())
		if seen += len(page.Keys); seen > keys {
			return w, errors.New("the list has more keys than the collection")
		}
		if page.Next == "" {
			if seen != keys {
				return w, fmt.Errorf("the list has %d of %d keys", seen, keys)
			}
			return w, nil
		}
		q.After = page.Next
	}
}

func readListPage(ctx context.Context, store *keystore.Store, q keystore.Query) (keystore.Page, time.Duration, error) {
	// A page without an index could take as long as a whole scan.
	ctx, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	began := time.Now()
	page, err := store.List(ctx, q)
	return page, time.Since(began), err
}
