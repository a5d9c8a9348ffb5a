package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	mongooptions "go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/coreauth"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/service"
)

// collection is a collection of keys on the server, with a client that is independent
// of keytail.
type collection struct {
	*mongo.Collection
	client *mongo.Client
	// keys are the texts of the keys. The i-th belongs to the document of sampleRecord(i).
	keys []string
	// size is the number of keys.
	size int
	// shared reports whether the server was not started for this row.
	shared bool
}

// newCollection creates a new database with n sample keys.
func (e *env) newCollection(ctx context.Context, n int) (*collection, error) {
	client, err := e.connect()
	if err != nil {
		return nil, err
	}
	c := &collection{client: client, size: n, shared: e.URI != ""}
	database := client.Database(fmt.Sprintf("bench_%s_%x", e.row, time.Now().UnixNano()))
	c.Collection = database.Collection("api_keys", mongooptions.Collection().SetWriteConcern(writeconcern.Majority()))
	if err := c.fill(ctx, e, n); err != nil {
		c.drop()
		return nil, err
	}
	return c, nil
}

// forget releases the memory of the keys, for rows that need only the documents.
func (c *collection) forget() { c.keys = nil }

// drop drops the database on a shared server, and disconnects the client.
func (c *collection) drop() {
	if c.shared {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		_ = c.Database().Drop(ctx)
	}
	disconnect(c.client)
}

// fill inserts the keys, in batches.
func (c *collection) fill(ctx context.Context, e *env, n int) error {
	var err error
	if c.keys, err = generateKeys(n); err != nil {
		return err
	}
	_, err = c.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: bson.D{{Key: "key_hash", Value: 1}}, Options: mongooptions.Index().SetUnique(true)})
	if err != nil {
		return err
	}
	const batch = 5000
	for first := 0; first < n; first += batch {
		var documents []any
		for i := first; i < min(n, first+batch); i++ {
			documents = append(documents, c.document(i))
		}
		if _, err := c.InsertMany(ctx, documents, mongooptions.InsertMany().SetOrdered(false)); err != nil {
			return err
		}
		if n > 10*batch && first%(20*batch) == 0 {
			e.progress("%d of %d keys inserted", first, n)
		}
	}
	return nil
}

// document returns the document of the i-th key: about 200 bytes, and 64 of the hash.
func (c *collection) document(i int) bson.D {
	r := sampleRecord(i)
	return bson.D{
		{Key: "_id", Value: r.KeyID},
		{Key: "key_hash", Value: apikey.HashOf(c.keys[i]).Hex()},
		{Key: "user_id", Value: r.UserID},
		{Key: "org_id", Value: r.OrgID},
		{Key: "name", Value: r.Name},
		{Key: "scopes", Value: r.Scopes},
		{Key: "is_active", Value: true},
	}
}

// instance is a keytail.Service in this process.
type instance struct {
	*daemon.Daemon
	stop func()
	// took is the time from Run to live.
	took time.Duration
}

// Validate is what the Validate of a program that embeds keytail does.
func (i *instance) Validate(ctx context.Context, key string, request auth.Request) (auth.Verdict, error) {
	return coreauth.Validator{Core: i.Core}.Validate(ctx, key, request)
}

// start runs a service and waits until it is live. A client that change gives it is
// disconnected by the code that created it.
func (e *env) start(ctx context.Context, c *collection, change ...func(*daemon.Config)) (*instance, error) {
	config := daemon.Config{Config: service.Config{
		Database: c.Database().Name(), CacheSizeMiB: max(64, c.size*1000>>20), Usage: service.UsageOff,
	}}
	for _, f := range change {
		f(&config)
	}
	leave := func() {}
	if config.Client == nil {
		client, err := e.connect(func(o *mongooptions.ClientOptions) {
			o.SetConnectTimeout(5 * time.Second).SetHeartbeatInterval(2 * time.Second)
		})
		if err != nil {
			return nil, err
		}
		config.Client, leave = client, func() { disconnect(client) }
	}
	d, err := daemon.New(ctx, config)
	if err != nil {
		leave()
		return nil, err
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	i, began := &instance{Daemon: d}, time.Now()
	go func() { done <- d.Run(running) }()
	i.stop = func() {
		stop()
		if err := <-done; err != nil {
			e.progress("keytail: %v", err)
		}
		leave()
	}
	select {
	case <-d.Live():
		i.took = time.Since(began)
		return i, nil
	case err := <-done:
		done <- nil
		i.stop()
		return nil, errors.Join(errors.New("keytail stopped before it was live"), err)
	case <-ctx.Done():
	case <-time.After(5 * time.Minute):
		err = errors.New("keytail is not live after five minutes")
	}
	i.stop()
	return nil, errors.Join(err, ctx.Err())
}
