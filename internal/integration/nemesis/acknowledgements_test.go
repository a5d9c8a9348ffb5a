package nemesis

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
)

const (
	// syncPace is the pause between two waits for the fleet, syncTimeout the maximum
	// duration of each.
	syncPace    = 200 * time.Millisecond
	syncTimeout = 3 * time.Second
	// syncWaiters wait concurrently, each for writes to its share of syncSlots.
	syncWaiters = 3
	syncSlots   = 2 * syncWaiters
)

// startSyncs writes a key, waits until keytail reports that the fleet has applied the
// write (wait=fleet), and validates at every instance immediately. From then on no answer
// about any key may ignore an earlier acknowledged write.
func (a *workload) startSyncs(ctx context.Context, instances []validator) {
	all := slices.Clone(a.slots[len(a.slots)-syncSlots:])
	for slots := range slices.Chunk(all, syncSlots/syncWaiters) {
		random := rand.New(rand.NewPCG(a.seed, uint64(2000+slots[0].number)))
		a.writers.Go(func() { a.syncRepeatedly(ctx, random, slots, instances) })
	}
}

func (a *workload) syncRepeatedly(ctx context.Context, random *rand.Rand, slots []*slot, instances []validator) {
	pace := time.NewTicker(syncPace)
	defer pace.Stop()
	for ctx.Err() == nil {
		a.pauseWriters.RLock()
		s, sent, revision := a.revision(ctx, random, slots)
		a.pauseWriters.RUnlock()
		if syncer, ok := instances[random.IntN(len(instances))].(fleetSyncer); ok && revision != 0 {
			a.sync(ctx, syncer, s, sent, revision, instances)
		}
		select {
		case <-ctx.Done():
		case <-pace.C:
		}
	}
}

// fleetSyncer waits for a revision, as GET /v1/sync?wait=fleet does.
type fleetSyncer interface {
	synced(ctx context.Context, revision clustertime.Time) bool
}

func (i *instance) synced(ctx context.Context, revision clustertime.Time) bool {
	if i.keytail == nil {
		return false
	}
	result, err := i.keytail.Syncer().Wait(ctx, revision, true)
	return err == nil && result.Synced
}

// revision makes a write, and returns the time at which it was sent, and its revision:
// zero if it was not acknowledged.
func (a *workload) revision(ctx context.Context, random *rand.Rand, slots []*slot) (s *slot, sent time.Time, revision clustertime.Time) {
	i := random.IntN(len(slots))
	s = slots[i]
	session, err := s.keys.Database().Client().StartSession(options.Session().SetCausalConsistency(false))
	if err != nil {
		return s, sent, 0
	}
	defer session.EndSession(context.WithoutCancel(ctx))
	ctx = mongo.NewSessionContext(ctx, session)
	switch {
	case !s.certain:
		a.settle(ctx, s)
		return s, sent, 0
	case s.state == apikey.NotFound:
		if a.create(ctx, s, 0, s.generation+1); s.retired {
			a.replaceRetired(slots, i)
		}
		return s, sent, 0
	}
	target := condition{state: apikey.Valid}
	if s.now() == apikey.Valid {
		target.state = apikey.Disabled
	}
	sent = time.Now()
	a.update(ctx, s, target, s.current, false)
	at := session.OperationTime()
	if !s.certain || at == nil {
		return s, sent, 0
	}
	return s, sent, clustertime.New(at.T, at.I)
}

// sync waits for the fleet. It records nothing while the instances' positions are forged
// (docs/security.md).
func (a *workload) sync(ctx context.Context, syncer fleetSyncer, s *slot, sent time.Time, revision clustertime.Time, instances []validator) {
	began := time.Now().UnixNano()
	limited, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	if !syncer.synced(limited, revision) || began < a.forgedUntil.Load() {
		return
	}
	a.history.AddAcknowledgement(sent, time.Now())
	for i, instance := range instances {
		for _, subject := range s.subjects {
			a.history.AddAnswer(validate(ctx, instanceName(i), instance, subject))
		}
	}
}
