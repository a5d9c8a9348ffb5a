package keystore

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/mongoclient"
)

// Deployment is what the primary says of itself and its kind.
type Deployment struct {
	// SetName is that of the replica set. Empty: mongos, or a standalone mongod.
	SetName string `bson:"setName"`
	// Msg is how mongos makes itself known.
	Msg string `bson:"msg"`
	// Me is the address of the member that answered, Hosts those of all that hold
	// data.
	Me                string   `bson:"me"`
	Hosts             []string `bson:"hosts"`
	IsWritablePrimary bool     `bson:"isWritablePrimary"`
	// IsMaster is IsWritablePrimary in the answer to isMaster. CheckDeployment folds
	// the two into one.
	IsMaster bool `bson:"ismaster"`
	// LocalTime is the server's clock while it answered, between Asked and Asked
	// plus Took on ours.
	LocalTime time.Time     `bson:"localTime"`
	Asked     time.Time     `bson:"-"`
	Took      time.Duration `bson:"-"`
}

// msgSharded is how mongos makes itself known.
const msgSharded = "isdbgrid"

// Sharded says what becomes of the bound on a sharded cluster.
const Sharded = "this is a sharded cluster: cluster times of its shards are only loosely coupled, so a change is felt within max_stale plus the lag between shards"

// Sharded reports whether mongos has answered.
func (d Deployment) Sharded() bool { return d.Msg == msgSharded }

// CheckDeployment asks the primary who it is, and refuses what has no change
// streams. It returns what it was told along with a refusal.
func (s *Store) CheckDeployment(ctx context.Context) (Deployment, error) {
	d := Deployment{Asked: time.Now()}
	// hello by itself needs no credentials, but a client that has some logs in
	// first, so this is where wrong ones show
	reply, err := mongoclient.Hello(ctx, s.client)
	d.Took = time.Since(d.Asked)
	if err == nil {
		err = bson.Unmarshal(reply, &d)
	}
	if err != nil {
		return d, s.explain("asking the server who it is", err)
	}
	d.IsWritablePrimary = d.IsWritablePrimary || d.IsMaster
	return d, s.judgeDeployment(d)
}

func (s *Store) judgeDeployment(d Deployment) error {
	switch {
	case d.Sharded():
		s.sharded.Store(true)
		return nil
	case d.SetName == "":
		return refuse(ErrStandalone, "the MongoDB server is a standalone mongod, and change streams need a replica set: start it with --replSet and run rs.initiate() once (one member is enough)")
	case !d.IsWritablePrimary:
		return refuse(ErrNotPrimary, "the MongoDB server %q is not the primary of its replica set: take directConnection out of the connection string", d.Me)
	}
	return nil
}

// Version is the server's, such as 8.0.4. It needs no privilege.
func (s *Store) Version(ctx context.Context) (string, error) {
	var info struct {
		Version string `bson:"version"`
	}
	err := mongoclient.Database(s.client, "admin").RunCommand(ctx, bson.D{{Key: "buildInfo", Value: 1}}).Decode(&info)
	if err != nil {
		return "", s.explain("asking the server for its version", err)
	}
	return info.Version, nil
}

// CheckIndex refuses a collection in which two documents could have one hash.
func (s *Store) CheckIndex(ctx context.Context) error {
	_, err := s.checkIndexes(ctx)
	return err
}
