package mongoclient

import (
	"context"
	"fmt"
	"sync"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// setNames remembers servers that belong to another replica set than the one that
// is asked for. The driver leaves them out of its view without a word, so that its
// own error names no server at all.
type setNames struct {
	wanted string
	mutex  sync.Mutex
	// present: a server of the wanted set has answered, so the name is right.
	present bool
	// found maps addresses to the names that servers there have said, empty for a
	// server that is in no set.
	found map[string]string
}

// newSetNames listens to the driver's monitors. Nil: no set is asked for by name.
func newSetNames(opts *options.ClientOptions) *setNames {
	if opts.ReplicaSet == nil || *opts.ReplicaSet == "" {
		return nil
	}
	n := &setNames{wanted: *opts.ReplicaSet, found: make(map[string]string)}
	opts.SetServerMonitor(&event.ServerMonitor{ServerHeartbeatSucceeded: func(e *event.ServerHeartbeatSucceededEvent) {
		n.mutex.Lock()
		defer n.mutex.Unlock()
		if e.Reply.SetName == n.wanted {
			n.present = true
			delete(n.found, e.Reply.Addr.String())
			return
		}
		n.found[e.Reply.Addr.String()] = e.Reply.SetName
	}})
	return n
}

// Explain adds to an error of a client that finds no primary what the servers have
// said about the name of their set, if none of the wanted set has answered.
func (s *Settings) Explain(err error) error {
	if err == nil || s.names == nil {
		return err
	}
	s.names.mutex.Lock()
	defer s.names.mutex.Unlock()
	if s.names.present {
		return err
	}
	for address, name := range s.names.found {
		if name == "" {
			return fmt.Errorf("--mongodb-uri asks for the replica set %q, and %s belongs to none: start it with --replSet %s and run rs.initiate(), or name other hosts: %w", s.names.wanted, address, s.names.wanted, err)
		}
		return fmt.Errorf("--mongodb-uri asks for the replica set %q, and that of %s is called %q: write replicaSet=%s, or name other hosts: %w", s.names.wanted, address, name, name, err)
	}
	return err
}

// CheckDirect refuses a direct connection to one of several members. A server that
// does not answer is no reason: whoever asks it next will say so.
func (s *Settings) CheckDirect(ctx context.Context, client *mongo.Client) error {
	if s.Options.Direct == nil || !*s.Options.Direct {
		return nil
	}
	reply, err := Hello(ctx, client)
	if err != nil {
		return nil //nolint:nilerr // see above
	}
	var set struct {
		SetName  string   `bson:"setName"`
		Hosts    []string `bson:"hosts"`
		Passives []string `bson:"passives"`
	}
	if err := bson.Unmarshal(reply, &set); err != nil || len(set.Hosts)+len(set.Passives) < 2 {
		return err
	}
	return fmt.Errorf("--mongodb-uri has directConnection=true (or connect=direct), and the replica set %q has %d members: after an election keytail would stay with a member that is no longer the primary; take it out, and write replicaSet=%s",
		set.SetName, len(set.Hosts)+len(set.Passives), set.SetName)
}
