package simulation

import (
	"context"
	"fmt"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/devmongo"
)

// replicaSet is the deployment: a node that leads, and for some time another one that believes that it
// leads. The majority follows at once, unless it is held.
type replicaSet struct {
	world *world
	main  *devmongo.Server

	mutex sync.Mutex
	// deposed is the node that was cut off. Nil: there is none. deposedEnds is closed when it learns that it
	// does not lead.
	deposed     *devmongo.Server
	deposedEnds chan struct{}
	// held: the majority does not follow main. moved is closed when that changes.
	held  bool
	moved chan struct{}
	// rollbacks counts what has undone writes: elections and restores.
	rollbacks int
	// leads is closed while there is a primary.
	leads chan struct{}
}

func newReplicaSet(w *world, oplog int) (*replicaSet, error) {
	main, err := devmongo.NewLocal(devmongo.Config{OplogSize: oplog, Getenv: func(string) string { return "" }})
	leads := make(chan struct{})
	close(leads)
	return &replicaSet{world: w, main: main, moved: make(chan struct{}), leads: leads}, err
}

// awaitPrimary waits until there is a primary.
func (s *replicaSet) awaitPrimary(ctx context.Context) error {
	s.mutex.Lock()
	leads := s.leads
	s.mutex.Unlock()
	select {
	case <-leads:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stepDown leaves the set without a primary until stepUp.
func (s *replicaSet) stepDown() {
	s.mutex.Lock()
	s.leads = make(chan struct{})
	s.mutex.Unlock()
	s.main.StepDown(0)
}

func (s *replicaSet) stepUp() {
	s.main.StepUp()
	s.mutex.Lock()
	defer s.mutex.Unlock()
	close(s.leads)
}

// hold keeps the majority where it is.
func (s *replicaSet) hold() {
	s.main.HoldMajority()
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.held = true
}

// release lets the majority follow.
func (s *replicaSet) release() {
	s.main.ReleaseMajority()
	s.world.truth.commit()
	s.move(false)
}

// rollback undoes what the majority does not have.
func (s *replicaSet) rollback() {
	s.main.Rollback()
	s.world.truth.rollback()
	s.move(true)
}

// restore installs a snapshot.
func (s *replicaSet) restore(snapshot *devmongo.Snapshot) {
	s.main.Restore(snapshot)
	s.world.truth.restored()
	s.move(true)
	s.world.observe()
}

// move wakes those that wait for the majority.
func (s *replicaSet) move(undone bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.held = false
	if undone {
		s.rollbacks++
	}
	close(s.moved)
	s.moved = make(chan struct{})
}

// committed waits until a majority has what main has now. False: it was undone, or ctx ended.
func (s *replicaSet) committed(ctx context.Context, rollbacks int) bool {
	for {
		s.mutex.Lock()
		held, moved, undone := s.held, s.moved, s.rollbacks != rollbacks
		s.mutex.Unlock()
		if undone || !held {
			return !undone
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return false
		}
	}
}

// undone is how often writes have been undone.
func (s *replicaSet) undone() int {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.rollbacks
}

// depose cuts a copy of main off. What happens on main from then on, the copy does not know.
func (s *replicaSet) depose() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.deposed, s.deposedEnds = s.main.Fork(), make(chan struct{})
}

// learn ends depose: the commands that wait on the copy fail.
func (s *replicaSet) learn() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.deposed = nil
	close(s.deposedEnds)
}

// cutOff is the node that was cut off, and when it learns of it. Nil: there is none.
func (s *replicaSet) cutOff() (*devmongo.Server, <-chan struct{}) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.deposed, s.deposedEnds
}

// run executes a command of the simulation itself on main. It must not fail.
func (s *replicaSet) run(command ...bson.E) bson.D {
	reply, err := s.main.Execute(s.world.ctx, append(bson.D(command), bson.E{Key: "$db", Value: database}))
	if err != nil || lookup(reply, "ok") != 1.0 {
		panic(fmt.Sprintf("a command of the simulation failed: %v: %v, %v", command, reply, err))
	}
	return reply
}

// mayFail executes a command of the simulation itself that the state of the collection may refuse.
func (s *replicaSet) mayFail(command ...bson.E) {
	_, _ = s.main.Execute(s.world.ctx, append(bson.D(command), bson.E{Key: "$db", Value: database}))
}

// lookup returns a value of a document, nil if it has none.
func lookup(document bson.D, key string) any {
	for _, e := range document {
		if e.Key == key {
			return e.Value
		}
	}
	return nil
}

// with returns a copy of a document in which a field has a value.
func with(document bson.D, key string, value any) bson.D {
	copied := append(bson.D(nil), document...)
	for i := range copied {
		if copied[i].Key == key {
			copied[i].Value = value
			return copied
		}
	}
	return append(copied, bson.E{Key: key, Value: value})
}
