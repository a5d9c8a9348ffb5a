package keystore

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/mongoclient"
)

// Deployment describes the primary and the kind of deployment, as the primary
// reports them.
type Deployment struct {
	// SetName is the name of the replica set. Empty: mongos, or a standalone
	// mongod.
	SetName string `bson:"setName"`
	// Msg identifies mongos.
	Msg string `bson:"msg"`
	// Me is the address of the member that answered. Hosts are the addresses of
	// all members that hold data.
	Me                string   `bson:"me"`
	Hosts             []string `bson:"hosts"`
	IsWritablePrimary bool     `bson:"isWritablePrimary"`
	// IsMaster is the name of IsWritablePrimary in the reply to isMaster.
	// CheckDeployment copies it to IsWritablePrimary.
	IsMaster bool `bson:"ismaster"`
	// LocalTime is the server's clock at the time of its reply, which lies
	// between RequestedAt and RequestedAt plus Took on the clock of this
	// machine.
	LocalTime   time.Time     `bson:"localTime"`
	RequestedAt time.Time     `bson:"-"`
	Took        time.Duration `bson:"-"`
}

// msgSharded is the value of Msg by which mongos identifies itself.
const msgSharded = "isdbgrid"

// Sharded is the warning about how the maximum staleness is weaker on a
// sharded cluster.
const Sharded = "this is a sharded cluster: cluster times of its shards are only loosely coupled, so a change takes effect within max_stale plus the lag between shards"

// Sharded reports whether mongos has answered.
func (d Deployment) Sharded() bool { return d.Msg == msgSharded }

// CheckDeployment reads the description of the primary, and returns an error
// for a deployment without change streams. It returns the Deployment even along
// with such an error.
func (s *Store) CheckDeployment(ctx context.Context) (Deployment, error) {
	d := Deployment{RequestedAt: time.Now()}
	// hello itself needs no credentials, but a client that has credentials logs
	// in first, so wrong credentials show here
	reply, err := mongoclient.Hello(ctx, s.client)
	d.Took = time.Since(d.RequestedAt)
	if err == nil {
		err = bson.Unmarshal(reply, &d)
	}
	if err != nil {
		return d, s.explain("sending hello to the server", err)
	}
	d.IsWritablePrimary = d.IsWritablePrimary || d.IsMaster
	return d, s.requireReplicaSet(d)
}

func (s *Store) requireReplicaSet(d Deployment) error {
	switch {
	case d.Sharded():
		s.sharded.Store(true)
		return nil
	case d.SetName == "":
		return explained(ErrStandalone, "the MongoDB server is a standalone mongod, and change streams need a replica set: start it with --replSet and run rs.initiate() once (one member is enough)")
	case !d.IsWritablePrimary:
		return explained(ErrNotPrimary, "the MongoDB server %q is not the primary of its replica set: remove directConnection from the connection string", d.Me)
	}
	return nil
}

// Version returns the server's version, such as 8.0.4. It needs no privilege.
func (s *Store) Version(ctx context.Context) (string, error) {
	var info struct {
		Version string `bson:"version"`
	}
	err := mongoclient.Database(s.client, "admin").RunCommand(ctx, bson.D{{Key: "buildInfo", Value: 1}}).Decode(&info)
	if err != nil {
		return "", s.explain("reading the server's version", err)
	}
	return info.Version, nil
}

// CheckIndex returns an error for a collection in which two documents could
// have the same hash.
func (s *Store) CheckIndex(ctx context.Context) error {
	_, err := s.checkIndexes(ctx)
	return err
}
