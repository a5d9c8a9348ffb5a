package keyadmin

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/managedkey"
)

var randomWrites = flag.Int("random.writes", 300, "how many creates and revokes TestAuditMatchesTheKeysDuringFaults does, each way and on each server")

// faults are what goes wrong while keys are written. None of them lasts longer
// than a call, so that most end well, and some are never known to.
func faults(r *rand.Rand) []bson.E {
	commit := commands("commitTransaction")
	write := commands("insert", "findAndModify")
	transient := bson.E{Key: "errorLabels", Value: bson.A{"TransientTransactionError"}}
	all := [][]bson.E{
		{commit, closes},
		{commit, code(112), transient},
		{commit, {Key: "writeConcernError", Value: bson.D{{Key: "code", Value: 64}, {Key: "errmsg", Value: "no majority"}}}},
		{commit, code(13)},
		{commit, {Key: "blockConnection", Value: true}, {Key: "blockTimeMS", Value: 150}},
		{write, closes},
		{write, code(13)},
		{write, {Key: "writeConcernError", Value: bson.D{{Key: "code", Value: 64}, {Key: "errmsg", Value: "no majority"}}}},
		{write, {Key: "blockConnection", Value: true}, {Key: "blockTimeMS", Value: 150}},
		{commands("find"), closes},
		{commands("find"), code(112), transient},
	}
	return all[r.IntN(len(all))]
}

// outcome is what the caller of one write knows.
type outcome struct {
	id      string
	unknown bool
}

// tally is what the callers of all writes know.
type tally struct {
	mutex           sync.Mutex
	created         []outcome
	revoked         []outcome
	failed, changed int
}

// TestAuditMatchesTheKeysDuringFaults: random creates (hundreds;
// -random.writes=1000 for a thousand) and revokes while commands fail and
// connections close. The test compares the database with the results that
// callers received: each key has exactly one entry for its creation, and one
// for its revocation if it was revoked; a failed write has neither key nor
// entry; a write with an unknown outcome has both or neither.
func TestAuditMatchesTheKeysDuringFaults(t *testing.T) {
	withAndWithoutTransactions(t, func(t *testing.T, o *fixture) {
		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		var known tally
		ctx, stop := context.WithCancel(t.Context())
		var disturbing, writing sync.WaitGroup
		disturbing.Go(func() {
			for r := rand.New(rand.NewPCG(seed, 0)); ctx.Err() == nil; {
				off := o.fail(times(1+r.IntN(4)), faults(r)...)
				select {
				case <-ctx.Done():
				case <-time.After(time.Duration(r.IntN(40)) * time.Millisecond):
				}
				off()
			}
		})
		const writers = 4
		for w := range writers {
			writing.Go(func() {
				r := rand.New(rand.NewPCG(seed, uint64(w)+1))
				for range *randomWrites / writers {
					known.write(t, o, r)
				}
			})
		}
		writing.Wait()
		stop()
		disturbing.Wait()
		known.compare(t, o)
	}, func(c *Config) { c.Timeout = 250 * time.Millisecond })
}

// write does one write at random.
func (k *tally) write(t *testing.T, o *fixture, r *rand.Rand) {
	id := k.victim(r)
	var written managedkey.Written
	var err error
	if id == "" {
		written, err = o.Create(t.Context(), ann, managedkey.Fields{UserID: ptr(fmt.Sprint("user ", r.IntN(5)))})
	} else {
		written, err = o.Revoke(t.Context(), ann, id)
	}
	var unknown *managedkey.UnknownError
	result := outcome{written.Key.Record.KeyID, false}
	k.mutex.Lock()
	defer k.mutex.Unlock()
	switch {
	case errors.As(err, &unknown):
		result = outcome{unknown.KeyID, true}
	case errors.Is(err, managedkey.ErrChanged):
		k.changed++
		return
	case err != nil:
		if !errors.Is(err, managedkey.ErrUnavailable) && !errors.Is(err, managedkey.ErrRefused) {
			t.Errorf("%v", err)
		}
		k.failed++
		return
	}
	if id == "" {
		k.created = append(k.created, result)
	} else {
		k.revoked = append(k.revoked, result)
	}
}

// victim is a key to revoke; empty: make one.
func (k *tally) victim(r *rand.Rand) string {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if len(k.created) == 0 || r.IntN(2) == 0 {
		return ""
	}
	if c := k.created[r.IntN(len(k.created))]; !c.unknown {
		return c.id
	}
	return ""
}

// compare looks at all that is stored.
func (k *tally) compare(t *testing.T, o *fixture) {
	active := map[string]bool{}
	cursor, err := o.keys.Find(o.ctx(), bson.D{})
	if err != nil {
		t.Fatal(err)
	}
	var documents []struct {
		ID       bson.ObjectID `bson:"_id"`
		IsActive bool          `bson:"is_active"`
	}
	if err := cursor.All(o.ctx(), &documents); err != nil {
		t.Fatal(err)
	}
	for _, d := range documents {
		active[d.ID.Hex()] = d.IsActive
	}
	cursor, err = o.lines.Find(o.ctx(), bson.D{})
	if err != nil {
		t.Fatal(err)
	}
	var entries []entry
	if err := cursor.All(o.ctx(), &entries); err != nil {
		t.Fatal(err)
	}
	lines := map[string]map[string]int{"create": {}, "revoke": {}}
	for _, e := range entries {
		lines[e.Action][e.KeyID]++
	}
	k.compareWith(t, o.noTransactions, active, lines)
}

func (k *tally) compareWith(t *testing.T, alone bool, active map[string]bool, lines map[string]map[string]int) {
	unknown, happened, asked := 0, 0, map[string]bool{}
	for _, c := range k.created {
		asked[c.id] = true
		_, exists := active[c.id]
		if c.unknown {
			unknown++
			if exists {
				happened++
			}
		} else if !exists {
			t.Errorf("the key %s was acknowledged and is lost", c.id)
		}
	}
	for id := range active {
		if !asked[id] {
			t.Errorf("no caller knows of the key %s", id)
		}
		if lines["create"][id] != 1 {
			t.Errorf("the key %s has %d lines of its making", id, lines["create"][id])
		}
	}
	sure, maybe := map[string]bool{}, map[string]bool{}
	for _, r := range k.revoked {
		if r.unknown {
			maybe[r.id] = true
		} else {
			sure[r.id] = true
		}
	}
	for id, on := range active {
		n := lines["revoke"][id]
		switch {
		case sure[id] && on:
			t.Errorf("the end of %s was acknowledged and is lost", id)
		case !on && !sure[id] && !maybe[id]:
			t.Errorf("no caller knows of the end of %s", id)
		case !on && n < 1, !on && n > 1 && !alone, on && n > 0 && !alone:
			t.Errorf("the key %s, on %v, has %d lines of its end", id, on, n)
		}
	}
	for id, n := range lines["create"] {
		if _, exists := active[id]; !exists && !alone {
			t.Errorf("%d lines are about %s, which was never made", n, id)
		}
	}
	if happy := len(active); happy < *randomWrites/10 || len(sure) == 0 {
		t.Errorf("only %d keys, and %d ends: the faults leave nothing to compare", happy, len(sure))
	}
	t.Logf("%d creates (%d of unknown outcome, %d of which have happened), %d revokes (%d unknown), %d failed, %d gave up; %d keys, %d + %d lines",
		len(k.created), unknown, happened, len(k.revoked), len(maybe), k.failed, k.changed, len(active), len(lines["create"]), len(lines["revoke"]))
}
