package keystore

import (
	"context"
	"errors"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
)

// Prepare checks, once at the start, what keytail's promises rest on: a replica
// set or sharded cluster, a plain collection, documents that the Schema can read,
// if there are any (a small Survey is refused, or its warnings are logged), and a
// unique index on the hash. With ensure it creates the collection and
// the index where they are missing; what is there and unfit it never changes.
// Each failure is one sentence that
// says what to do, and one of this package's errors to errors.Is.
//
// Without a deadline in ctx the driver waits for a server as long as its own
// settings say (30 s by default).
func (s *Store) Prepare(ctx context.Context, ensure bool) error {
	if err := s.checkDeployment(ctx); err != nil {
		return err
	}
	err := s.Inspect(ctx)
	if ensure && errors.Is(err, ErrCollectionMissing) {
		err = s.createCollection(ctx)
	}
	if err != nil {
		return err
	}
	// Before the index: documents that cannot be looked up at all should not get
	// one
	if err := s.checkDocuments(ctx); err != nil {
		return err
	}
	return s.prepareIndex(ctx, ensure)
}

// checkDocuments looks at some documents by the Schema.
func (s *Store) checkDocuments(ctx context.Context) error {
	found, err := s.Survey(ctx, startSurvey)
	if err != nil {
		return err
	}
	if err := found.Refusal(); err != nil {
		return err
	}
	for _, warning := range found.Warnings() {
		s.logger.Warn(warning)
	}
	return nil
}

// prepareIndex creates the index only where there is none on the hash: beside
// one that is unfit the server would refuse it, in words that help less.
func (s *Store) prepareIndex(ctx context.Context, ensure bool) error {
	some, err := s.checkIndexes(ctx)
	if some || !ensure || !errors.Is(err, ErrNoUniqueIndex) {
		return err
	}
	if err := s.createIndex(ctx); err != nil {
		return err
	}
	_, err = s.checkIndexes(ctx)
	return err
}

// createCollection is content when somebody else was faster.
func (s *Store) createCollection(ctx context.Context) error {
	err := s.database.CreateCollection(ctx, s.schema.Collection)
	if err != nil && !hasCode(err, codeNamespaceExists) {
		return s.explain("creating the collection "+s.namespace(), err)
	}
	return nil
}

// deployment is what hello says about the server and its kind.
type deployment struct {
	SetName           string `bson:"setName"`
	Msg               string `bson:"msg"`
	Me                string `bson:"me"`
	IsWritablePrimary bool   `bson:"isWritablePrimary"`
}

// msgSharded is how mongos makes itself known.
const msgSharded = "isdbgrid"

func (s *Store) checkDeployment(ctx context.Context) error {
	var d deployment
	// hello by itself needs no credentials, but a client that has some logs in
	// first, so this is where wrong ones show
	err := s.client.Database("admin").
		RunCommand(ctx, bson.D{{Key: "hello", Value: 1}}, options.RunCmd().SetReadPreference(readpref.Primary())).
		Decode(&d)
	if err != nil {
		return s.explain("asking the server who it is", err)
	}
	return s.judgeDeployment(d)
}

func (s *Store) judgeDeployment(d deployment) error {
	switch {
	case d.Msg == msgSharded:
		s.sharded.Store(true)
		s.logger.Warn("This is a sharded cluster: cluster times of its shards are only loosely coupled, so a change is felt within max_stale plus the lag between shards")
		return nil
	case d.SetName == "":
		return refuse(ErrStandalone, "the MongoDB server is a standalone mongod, and change streams need a replica set: start it with --replSet and run rs.initiate() once (one member is enough)")
	case !d.IsWritablePrimary:
		return refuse(ErrNotPrimary, "the MongoDB server %q is not the primary of its replica set: take directConnection out of the connection string", d.Me)
	}
	return nil
}
