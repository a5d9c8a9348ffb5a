package websession

import (
	"encoding/base64"
	"testing"
	"time"
)

type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func newTable(perOwner int) (*Table[int], *clock) {
	c := &clock{at: time.Date(2026, 11, 30, 3, 0, 0, 0, time.UTC)}
	return NewTable[int](Limits{Idle: 10 * time.Minute, Total: time.Hour, PerOwner: perOwner, Now: c.now}), c
}

func TestIDsAreLongAndNew(t *testing.T) {
	t.Parallel()
	table, _ := newTable(4)
	a, b := table.Add("ann", 1), table.Add("ann", 1)
	random, err := base64.RawURLEncoding.DecodeString(a)
	if err != nil || len(random) != 32 || a == b {
		t.Errorf("ids %q and %q, %v", a, b, err)
	}
	for hash := range table.kept {
		if string(hash[:]) == string(random) || base64.RawURLEncoding.EncodeToString(hash[:]) == a {
			t.Error("the table has the id itself")
		}
	}
}

func TestValuesEnd(t *testing.T) {
	t.Parallel()
	table, c := newTable(4)
	idle, used := table.Add("ann", 1), table.Add("ann", 2)
	for range 5 {
		c.at = c.at.Add(9 * time.Minute)
		if v, found := table.Use(used); !found || v != 2 {
			t.Fatalf("%v: %d, %v", c.at, v, found)
		}
	}
	if _, found := table.Use(idle); found {
		t.Error("a value that was not used for 10 minutes is there")
	}
	c.at = c.at.Add(9 * time.Minute)
	if _, found := table.Use(used); !found {
		t.Error("ended before its hour")
	}
	c.at = c.at.Add(6 * time.Minute)
	if _, found := table.Use(used); found {
		t.Error("a value lives longer than an hour")
	}
	if table.Add("bob", 3); len(table.kept) != 1 {
		t.Errorf("%d values are kept, want one", len(table.kept))
	}
}

func TestOneOwnerCannotEndTheValuesOfOthers(t *testing.T) {
	t.Parallel()
	table, c := newTable(3)
	bob := table.Add("bob", 0)
	var ids []string
	for i := range 100 {
		c.at = c.at.Add(time.Second)
		ids = append(ids, table.Add("ann", i))
	}
	if _, found := table.Use(bob); !found || len(table.kept) != 4 {
		t.Errorf("%d values, bob's: %v", len(table.kept), found)
	}
	for i, id := range ids {
		if _, found := table.Use(id); found != (i >= 97) {
			t.Errorf("value %d: %v", i, found)
		}
	}
}

func TestTakeIsOnceAndForTheOwner(t *testing.T) {
	t.Parallel()
	table, _ := newTable(3)
	id := table.Add("ann", 7)
	if _, found := table.Take(id, "bob"); found {
		t.Error("bob took ann's")
	}
	if v, found := table.Take(id, "ann"); !found || v != 7 {
		t.Errorf("got %d, %v", v, found)
	}
	if _, found := table.Take(id, "ann"); found {
		t.Error("taken twice")
	}
	id = table.Add("ann", 7)
	table.Remove(id)
	if _, found := table.Use(id); found {
		t.Error("removed, and there")
	}
	if _, found := table.Use(""); found {
		t.Error("an empty id finds something")
	}
}
