package nemesis

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/nemesis"
)

// timedCache is a cache with a time to live, which keytail replaces: it keeps answers for
// a while, and reports them as current.
type timedCache struct {
	validator validator
	keep      time.Duration

	mutex   sync.Mutex
	answers map[string]kept
}

type kept struct {
	verdict apikey.Verdict
	until   time.Time
}

func (l *timedCache) Validate(ctx context.Context, text string, request *apikey.Request) apikey.Verdict {
	l.mutex.Lock()
	k, found := l.answers[text]
	l.mutex.Unlock()
	if now := time.Now(); found && now.Before(k.until) {
		k.verdict.AsOf, k.verdict.Staleness = now, time.Since(now)
		return k.verdict
	}
	k = kept{l.validator.Validate(ctx, text, request), time.Now().Add(l.keep)}
	if k.verdict.Code != apikey.Unavailable {
		l.mutex.Lock()
		l.answers[text] = k
		l.mutex.Unlock()
	}
	return k.verdict
}

// TestNemesisFindsAViolation puts a cache with a time to live in front of the
// instances. The oracle must find its violations, without a single fault.
func TestNemesisFindsAViolation(t *testing.T) {
	for name, c := range map[string]struct {
		keep time.Duration
		rule string
	}{
		"young but false":      {3 * time.Second, nemesis.FalseAge},
		"older than max_stale": {nemesisMaxStale + 3*time.Second, nemesis.LateAcceptance},
	} {
		t.Run(name, func(t *testing.T) {
			d := mongotest.StartDevmongo(t, devmongo.Config{})
			a := newTestbed(t, &d.Server)
			validators := make([]validator, len(a.instances))
			for i, instance := range a.instances {
				validators[i] = &timedCache{validator: instance, keep: c.keep, answers: map[string]kept{}}
			}
			load := startWorkload(t, a.writersKeys(), 1, validators)
			began := time.Now()
			var found []nemesis.Violation
			mongotest.Eventually(t, testkit.WaitTimeout, func() bool {
				found = load.history.CheckUntil(nemesisMaxStale, time.Now().Add(-time.Second))
				for _, v := range found {
					if v.Rule == c.rule {
						return true
					}
				}
				return false
			}, "found no violation of rule ", c.rule)
			load.stop()
			t.Logf("found after %v, %d violations in %d answers; the first: %v",
				time.Since(began).Round(time.Millisecond), len(found), load.history.Totals().Answers, found[0])
		})
	}
}
