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

// setNames remembers servers that belong to another replica set than the one in
// the connection string. The driver leaves them out of its view silently, so
// its own error names no server at all.
type setNames struct {
	wanted string
	mutex  sync.Mutex
	// present means that a server of the wanted set has answered, so the name
	// is right.
	present bool
	// found maps addresses to the set names that the servers there have
	// reported, empty for a server that is in no set.
	found map[string]string
}

// newSetNames is nil if the options name no set.
func newSetNames(opts *options.ClientOptions) *setNames {
	if opts.ReplicaSet == nil || *opts.ReplicaSet == "" {
		return nil
	}
	return &setNames{wanted: *opts.ReplicaSet, found: make(map[string]string)}
}

// succeeded remembers the set of a server that has answered. A nil n ignores it.
func (n *setNames) succeeded(e *event.ServerHeartbeatSucceededEvent) {
	if n == nil {
		return
	}
	n.mutex.Lock()
	defer n.mutex.Unlock()
	if e.Reply.SetName == n.wanted {
		n.present = true
		delete(n.found, e.Reply.Addr.String())
		return
	}
	n.found[e.Reply.Addr.String()] = e.Reply.SetName
}

// Explain adds to an error of a client that finds no primary the set names that
// servers have reported, unless a server of the wanted set has answered.
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
			return fmt.Errorf("--mongodb-uri names the replica set %q, but %s belongs to no replica set: start it with --replSet %s and run rs.initiate(), or set other hosts: %w", s.names.wanted, address, s.names.wanted, err)
		}
		return fmt.Errorf("--mongodb-uri names the replica set %q, but the replica set of %s is %q: set replicaSet=%s, or set other hosts: %w", s.names.wanted, address, name, name, err)
	}
	return err
}

// CheckDirect returns an error for a direct connection to one of several
// members. A server that does not answer is not an error here: the next command
// will report that.
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
	return fmt.Errorf("--mongodb-uri has directConnection=true (or connect=direct), and the replica set %q has %d members: after an election keytail would stay connected to a member that is no longer the primary: remove it, and set replicaSet=%s",
		set.SetName, len(set.Hosts)+len(set.Passives), set.SetName)
}
