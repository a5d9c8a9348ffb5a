package keyadmin

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/managedkey"
)

const (
	// refusalInterval is the time between two writes of refusals, so that one source
	// has at most one entry in it for each thing that it tries.
	refusalInterval = time.Minute
	// maxRefusals bounds the entries of each action in one interval: an attacker with
	// many addresses must not fill the database. What comes after them is counted in
	// one entry more, without a source.
	maxRefusals = 20
)

// Refusals writes refused requests into the audit, counted by what they have in common.
// It is safe for concurrent use.
type Refusals struct {
	admin *Admin
	ticks <-chan time.Time // nil: every refusalInterval

	mutex sync.Mutex
	// counted maps a refusal, whose Source is the first address of a managedkey.ClientNetwork, to its count.
	counted map[managedkey.Refusal]refusalCount
}

// refusalCount is how many requests were refused, and when the last one was.
type refusalCount struct {
	count int64
	last  time.Time
}

// Refusals makes the writer of refusals, whose Run must be called.
func (a *Admin) Refusals() *Refusals {
	return &Refusals{admin: a, counted: map[managedkey.Refusal]refusalCount{}}
}

// Note counts a refusal. It never waits for the database.
func (r *Refusals) Note(of managedkey.Refusal) {
	of.Source = managedkey.ClientNetwork(of.Source).Addr()
	now := r.admin.now()
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.add(of, refusalCount{1, now})
}

// add is called with the mutex.
func (r *Refusals) add(of managedkey.Refusal, n refusalCount) {
	if _, known := r.counted[of]; !known && r.entries(of.Action) >= maxRefusals {
		of = managedkey.Refusal{Action: of.Action}
	}
	was := r.counted[of]
	if n.last.Before(was.last) {
		n.last = was.last
	}
	r.counted[of] = refusalCount{was.count + n.count, n.last}
}

func (r *Refusals) entries(action string) int {
	n := 0
	for of := range r.counted {
		if of.Action == action {
			n++
		}
	}
	return n
}

// sourceText is a source in the audit. Empty: unknown, or of several.
func sourceText(source netip.Addr) string {
	switch {
	case !source.IsValid():
		return ""
	case source.Is6():
		return managedkey.ClientNetwork(source).String()
	}
	return source.String()
}

// Run writes what was counted every minute, and once more when ctx ends; then it
// returns nil.
func (r *Refusals) Run(ctx context.Context) error {
	ticks := r.ticks
	if ticks == nil {
		ticker := time.NewTicker(refusalInterval)
		defer ticker.Stop()
		ticks = ticker.C
	}
	for {
		select {
		case <-ctx.Done():
			r.write(context.WithoutCancel(ctx))
			return nil
		case <-ticks:
			r.write(ctx)
		}
	}
}

// write writes the entries. If the database does not confirm them, they stay counted:
// a count may be too high after an outage, and is never too low.
func (r *Refusals) write(ctx context.Context) {
	r.mutex.Lock()
	counted := r.counted
	r.counted = map[managedkey.Refusal]refusalCount{}
	r.mutex.Unlock()
	if len(counted) == 0 {
		return
	}
	var entries []entry
	for _, of := range sortedRefusals(counted) {
		entries = append(entries, entryOf(of, counted[of]))
	}
	ctx, cancel := context.WithTimeout(ctx, r.admin.config.Timeout)
	defer cancel()
	err := r.admin.insertEntries(ctx, entries)
	if err == nil {
		return
	}
	r.admin.logger.Warn("refused requests could not be written into the audit, keytail tries again in a minute", zap.Int("entries", len(entries)), zap.Error(err))
	r.mutex.Lock()
	defer r.mutex.Unlock()
	for of, n := range counted {
		r.add(of, n)
	}
}

// sortedRefusals has the oldest first, so that the audit has them in the order of time.
func sortedRefusals(counted map[managedkey.Refusal]refusalCount) []managedkey.Refusal {
	return slices.SortedFunc(maps.Keys(counted), func(a, b managedkey.Refusal) int {
		return counted[a].last.Compare(counted[b].last)
	})
}

func entryOf(of managedkey.Refusal, n refusalCount) entry {
	e := newEntry(n.last, of.Action, managedkey.Caller{Actor: of.Actor})
	e.Cause, e.Count, e.Source = of.Cause, n.count, sourceText(of.Source)
	return e
}
