package playground

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

func TestARevocationIsTimedToTheMillisecond(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.do(commandCreate, "")
		time.Sleep(10 * time.Second)
		w.expect("a new key", "VALID", "VALID", "VALID")
		w.do(commandRevoke, "1")
		w.expect("after the revocation", "DISABLED", "DISABLED", "still VALID")
		w.expectWords("after the revocation", "Revoked at", "keytail refused it after 12 ms.", "The TTL cache still lets it in, less than 1 s later.")
		time.Sleep(49 * time.Second)
		w.expectWords("before the copy expires", "The TTL cache still lets it in, 49 s later.")
		time.Sleep(2 * time.Second)
		w.expect("after the TTL", "DISABLED", "DISABLED", "DISABLED")
		w.expectWords("after the TTL", "The TTL cache refused it after 50 s.")
		if lane := w.key().Lanes[laneTTL]; lane.Note != "2 reads of MongoDB" {
			t.Errorf("the TTL cache: %q", lane.Note)
		}
	})
}

func TestARestoredKeyIsRefusedByACopy(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.do(commandTTL+"5", "")
		w.do(commandCreate, "")
		time.Sleep(time.Second)
		w.do(commandRevoke, "1")
		time.Sleep(2 * time.Second)
		w.do(commandRestore, "1")
		w.expectWords("too soon for the cache", "keytail accepted it after 12 ms.", "The TTL cache answered VALID all the time")
		if before := w.key().Changes[1].Lines[1].Text; before != "The TTL cache had not noticed it 2 s later, when the next change came." {
			t.Errorf("the change before: %s", before)
		}
		w.do(commandDelete, "1")
		time.Sleep(6 * time.Second)
		w.expect("deleted", "NOT_FOUND", "NOT_FOUND", "NOT_FOUND")
		if !w.key().Gone {
			t.Error("the key can still be deleted")
		}
	})
}

func TestCutNetwork(t *testing.T) {
	inWorld(t, func(_ *testing.T, w *world) {
		w.do(commandCreate, "")
		time.Sleep(30 * time.Second)
		w.do(commandCut, "")
		time.Sleep(5 * time.Second)
		w.do(commandRevoke, "1")
		w.expect("revoked behind the cut", "DISABLED", "still VALID", "still VALID")
		time.Sleep(11 * time.Second)
		w.expect("after max_stale", "DISABLED", "UNAVAILABLE", "still VALID")
		w.expectWords("after max_stale", "keytail let it in for another 10", "and then answered UNAVAILABLE", "The TTL cache still lets it in")
		time.Sleep(15 * time.Second)
		w.expect("after the TTL", "DISABLED", "UNAVAILABLE", "UNAVAILABLE")
		w.do(commandHeal, "")
		time.Sleep(time.Second)
		w.expect("healed", "DISABLED", "DISABLED", "DISABLED")
	})
}

func TestFrozenPrimary(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.do(commandCreate, "")
		time.Sleep(time.Second)
		w.do(commandFreeze, "")
		w.do(commandRevoke, "1")
		if k := w.key(); k.Writing != "The revocation waits for MongoDB." {
			t.Errorf("while the primary is frozen: %q", k.Writing)
		}
		if err := w.Do(t.Context(), commandDelete, "1"); !errors.Is(err, errWriting) {
			t.Errorf("a second write: %v", err)
		}
		w.expectWords("while it waits", "The revocation waits for MongoDB.", "keytail answers VALID.", "The TTL cache answers VALID.")
		time.Sleep(16 * time.Second)
		w.expect("after max_stale", "VALID", "UNAVAILABLE", "VALID")
		w.expectWords("after max_stale", "keytail answers UNAVAILABLE.")
		w.do(commandHeal, "")
		time.Sleep(time.Second)
		w.expect("thawed", "DISABLED", "DISABLED", "still VALID")
		// It was UNAVAILABLE when the revocation was acknowledged, so there is no delay to tell.
		w.expectWords("thawed", "keytail did not let it in before, either: UNAVAILABLE.", "The TTL cache still lets it in")
	})
}

func TestAWriteWithoutAcknowledgementIsNotAChange(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.do(commandCreate, "")
		time.Sleep(time.Second)
		w.do(commandFreeze, "")
		w.do(commandRevoke, "1")
		time.Sleep(WriteTimeout + time.Second)
		if k := w.key(); k.Writing != "" || len(k.Changes) != 0 || !k.Valid {
			t.Errorf("after the timeout: %+v", k)
		}
		if d := w.snapshot(); !strings.Contains(d.Problem, "MongoDB did not acknowledge the write") {
			t.Errorf("the page says %q", d.Problem)
		}
		w.do(commandHeal, "")
		w.mongodb.refuse = errRefused
		w.do(commandRevoke, "1")
		w.do(commandCreate, "")
		if d := w.snapshot(); len(d.Keys) != 1 || !strings.Contains(d.Problem, "No new key") || !strings.Contains(d.Problem, errRefused.Error()) {
			t.Errorf("%d keys, %q", len(d.Keys), d.Problem)
		}
	})
}

func TestAnotherProgramRevokes(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.do(commandCreate, "")
		time.Sleep(time.Second + sampleInterval/2)
		if err := w.mongodb.SetActive(t.Context(), "1", false); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		w.expect("revoked", "DISABLED", "DISABLED", "still VALID")
		// Two samples are taken at that moment, in any order.
		if line := w.key().Changes[0].Lines[0].Text; line != "keytail had noticed it before this page did: DISABLED." && line != "keytail refused it after less than 1 ms." {
			t.Error(line)
		}
		w.expectWords("revoked", "Changed outside of this page at", "The TTL cache still lets it in")
	})
}

// TestAReadFromBeforeAWriteChangesNothing: it may be older than the write.
func TestAReadFromBeforeAWriteChangesNothing(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.do(commandCreate, "")
		w.mu.Lock()
		w.keys[0].lanes[laneMongoDB].busy = false
		old, free := w.takeLocked(w.keys[0], laneMongoDB)
		w.mu.Unlock()
		if !free {
			t.Fatal("the lane is busy")
		}
		w.mongodb.codes[w.keys[0].text] = apikey.Valid
		w.do(commandRevoke, "1")
		w.mongodb.codes[w.keys[0].text] = apikey.Valid // what the old read has seen
		w.sample(t.Context(), old)
		if k := w.key(); k.Valid || len(k.Changes) != 1 {
			t.Errorf("the old read counts: %+v", k)
		}
	})
}

// TestOneQuestionAtATime: answers are seen in the order in which they were given.
func TestOneQuestionAtATime(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.do(commandCreate, "")
		w.mu.Lock()
		defer w.mu.Unlock()
		for which := range laneCount {
			w.keys[0].lanes[which].busy = false
			_, first := w.takeLocked(w.keys[0], which)
			if _, second := w.takeLocked(w.keys[0], which); !first || second {
				t.Errorf("lane %d: %v, then %v", which, first, second)
			}
			w.keys[0].lanes[which].busy = false
		}
	})
}

func TestAnAnswerOfTheFormerTTLDoesNotCount(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.do(commandCreate, "")
		w.mu.Lock()
		w.keys[0].lanes[laneTTL].busy = false
		old, _ := w.takeLocked(w.keys[0], laneTTL)
		w.mu.Unlock()
		w.do(commandTTL+"15", "")
		w.see(old, Answer{Code: apikey.Expired, Asked: true})
		if lane := w.key().Lanes[laneTTL]; strings.Contains(lane.Text, "EXPIRED") || lane.Name != "TTL cache, 15 s" {
			t.Errorf("%s: %s", lane.Name, lane.Text)
		}
	})
}

func TestEverythingIsBounded(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		for range MaxKeys {
			w.do(commandCreate, "")
		}
		if err := w.Do(t.Context(), commandCreate, ""); !errors.Is(err, errFull) {
			t.Errorf("one more key: %v", err)
		}
		for range 500 { // each changes what all lanes say
			w.do(commandRevoke, "1")
			w.do(commandCut, "")
			w.do(commandHeal, "")
			w.do(commandRestore, "1")
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		k := w.keys[0]
		if n := len(k.lanes[laneMongoDB].segments); n > maxSpans || n < maxSpans/2 {
			t.Errorf("%d segments", n)
		}
		if len(k.changes) != maxChanges || len(w.faults) > maxSpans || len(w.ages) > int(Window/sampleInterval)+1 {
			t.Errorf("%d changes, %d faults, %d ages", len(k.changes), len(w.faults), len(w.ages))
		}
	})
}

func TestForgottenKeyLeavesItsPlace(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		w.do(commandCreate, "")
		w.do(commandCreate, "")
		w.do(commandForget, "1")
		if k := w.key(); k.Name != "Key B" {
			t.Errorf("left is %s", k.Name)
		}
		w.do(commandCreate, "")
		if d := w.snapshot(); len(d.Keys) != 2 || d.Keys[1].Name != "Key A" || d.Keys[1].Prefix == "kt_1" {
			t.Errorf("the new key: %+v", d.Keys)
		}
	})
}

func TestUnknownButtons(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		for _, command := range []string{"", "explode", "ttl-", "ttl-7", "ttl--5", "ttl-99999999999999999999"} {
			if err := w.Do(t.Context(), command, ""); !errors.Is(err, errCommand) {
				t.Errorf("%q: %v", command, err)
			}
		}
		for _, number := range []string{"", "1", "-1", "x"} {
			if err := w.Do(t.Context(), commandRevoke, number); !errors.Is(err, errGone) {
				t.Errorf("key %q: %v", number, err)
			}
		}
	})
}

func TestACommandNeedsRun(t *testing.T) {
	f := newFakeMongoDB()
	p, err := New(Config{Validator: keytail{f}, State: keytail{f}.state, MaxStale: testMaxStale, Service: service{f}, Owner: f, Faults: f})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Do(t.Context(), commandCreate, ""); err == nil || p.creating != 0 {
		t.Errorf("%v, and %d keys are being made", err, p.creating)
	}
	if _, err := New(Config{}); err == nil {
		t.Error("an empty configuration is accepted")
	}
}
