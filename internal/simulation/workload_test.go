package simulation

import (
	"context"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
)

// writersCount is how many programs write keys. They know nothing of keytail, nor of each other.
const writersCount = 2

// documents are the _ids of all documents of a run.
var documents = []string{"d0", "d1", "d2", "d3", "d4", "d5"}

// writer is one program that writes keys.
type writer struct {
	chance
	world  *world
	name   string
	client *mongo.Client
	keys   *mongo.Collection
	// version counts its changes: each one is visible in a record.
	version int
}

// write writes keys until ctx ends.
func (w *world) write(ctx context.Context, number int) {
	client, err := connect(w.net, writers)
	if err != nil {
		panic(err)
	}
	name := string(rune('a' + number))
	keys := client.Database(database).Collection(w.truth.schema.Collection, options.Collection().SetWriteConcern(writeconcern.Majority()))
	p := &writer{chance: w.dice.next("writer " + name), world: w, name: name, client: client, keys: keys}
	changes := p.changes()
	for most := 30 * time.Millisecond; sleep(ctx, p.between(most/20, most)); {
		most = pick(p.chance, w.settings.writes)
		limited, cancel := context.WithTimeout(ctx, p.between(50*time.Millisecond, 8*time.Second))
		p.do(asCaller(limited, -number-2), pick(p.chance, changes))
		cancel()
	}
}

// do makes a change, and notes the revision of one that was acknowledged.
func (p *writer) do(ctx context.Context, change func(context.Context) error) {
	session, err := p.client.StartSession(options.Session().SetCausalConsistency(false))
	if err != nil {
		panic(err)
	}
	defer session.EndSession(ctx)
	restores := p.world.truth.restores()
	p.version++
	if err := change(mongo.NewSessionContext(ctx, session)); err != nil {
		return
	}
	at := session.OperationTime()
	if at == nil || p.world.truth.restores() != restores {
		return
	}
	p.world.mutex.Lock()
	defer p.world.mutex.Unlock()
	p.world.revisions = append(p.world.revisions, uint64(at.T)<<32|uint64(at.I))
}

// changes are all kinds of changes, frequent ones several times.
func (p *writer) changes() []func(context.Context) error {
	set := func(fields func() bson.D) func(context.Context) error {
		return func(ctx context.Context) error { return p.update(ctx, bson.D{{Key: "$set", Value: fields()}}) }
	}
	onOff := set(func() bson.D { return bson.D{{Key: "is_active", Value: p.in(0.5)}} })
	rename := set(func() bson.D { return bson.D{{Key: "name", Value: p.label()}} })
	return []func(context.Context) error{
		p.insert, p.insert, p.insert, p.insert, p.insert, p.insert, p.insert, p.insert, p.remove, p.remove, p.replace, p.replace, onOff, onOff, onOff, onOff, rename, rename,
		set(func() bson.D { return bson.D{{Key: "is_active", Value: p.in(0.5)}, {Key: "name", Value: p.label()}} }),
		set(func() bson.D { return bson.D{{Key: "expires_at", Value: p.expiry()}} }),
		set(func() bson.D {
			return bson.D{{Key: "expires_at", Value: p.expiry()}, {Key: "is_active", Value: p.in(0.7)}}
		}),
		set(func() bson.D { return bson.D{{Key: "metadata.v", Value: p.label()}} }),
		set(func() bson.D { return bson.D{{Key: "scopes.0", Value: pick(p.chance, []string{"read", "write"})}} }),
		set(func() bson.D { return bson.D{{Key: "last_used", Value: time.Now()}} }),
		set(func() bson.D { return bson.D{{Key: "key_hash", Value: p.hash()}} }),
		set(func() bson.D { return bson.D{{Key: "key_hash", Value: p.hash()}} }),
		set(func() bson.D { return bson.D{{Key: "key_hash", Value: bson.A{p.hash(), p.hash()}}} }),
		func(ctx context.Context) error {
			return p.update(ctx, bson.D{{Key: "$unset", Value: bson.D{{Key: pick(p.chance, []string{"expires_at", "scopes", "metadata"}), Value: ""}}}})
		},
		func(ctx context.Context) error {
			return p.update(ctx, bson.A{bson.D{{Key: "$set", Value: bson.D{{Key: "scopes", Value: bson.A{"write"}}}}}})
		},
		func(ctx context.Context) error {
			removed := bson.D{{Key: pick(p.chance, []string{"expires_at", "scopes", "metadata"}), Value: ""}}
			return p.update(ctx, bson.D{{Key: "$set", Value: bson.D{{Key: "last_used", Value: time.Now()}}}, {Key: "$unset", Value: removed}})
		},
		p.updateAll, p.moveHash, p.moveHash,
	}
}

// label is a text that occurs once in a run.
func (p *writer) label() string { return fmt.Sprintf("%s%d", p.name, p.version) }

// hash is the stored hash of a key.
func (p *writer) hash() string { return pick(p.chance, keys[:len(keys)-1]).stored }

func (p *writer) expiry() time.Time {
	return time.Now().Add(p.between(time.Millisecond, 6*time.Second) - time.Second).Truncate(time.Millisecond)
}

// document is a whole new document.
func (p *writer) document() bson.D {
	d := bson.D{
		{Key: "key_hash", Value: p.hash()},
		{Key: "is_active", Value: p.in(0.8)},
		{Key: "user_id", Value: "user"},
		{Key: "name", Value: p.label()},
		{Key: "scopes", Value: bson.A{"read", "write"}},
		{Key: "metadata", Value: bson.D{{Key: "v", Value: p.label()}}},
	}
	if p.in(0.2) {
		d = append(d, bson.E{Key: "expires_at", Value: p.expiry()})
	}
	return d
}

func (p *writer) some() bson.D { return bson.D{{Key: "_id", Value: pick(p.chance, documents)}} }

func (p *writer) insert(ctx context.Context) error {
	_, err := p.keys.InsertOne(ctx, append(p.some(), p.document()...))
	return err
}

func (p *writer) remove(ctx context.Context) error {
	_, err := p.keys.DeleteOne(ctx, p.some())
	return err
}

func (p *writer) replace(ctx context.Context) error {
	_, err := p.keys.ReplaceOne(ctx, p.some(), p.document())
	return err
}

func (p *writer) update(ctx context.Context, update any) error {
	_, err := p.keys.UpdateOne(ctx, p.some(), update)
	return err
}

// updateAll changes every document with one command.
func (p *writer) updateAll(ctx context.Context) error {
	change := bson.D{{Key: "name", Value: p.label()}}
	if p.in(0.5) {
		change = bson.D{{Key: "is_active", Value: p.in(0.7)}}
	}
	_, err := p.keys.UpdateMany(ctx, bson.D{}, bson.D{{Key: "$set", Value: change}})
	return err
}

// moveHash moves a hash from one document to another, in one transaction: it is never absent.
func (p *writer) moveHash(ctx context.Context) error {
	session := mongo.SessionFromContext(ctx)
	if err := session.StartTransaction(options.Transaction().SetWriteConcern(writeconcern.Majority())); err != nil {
		return err
	}
	hash, to := p.hash(), pick(p.chance, documents)
	_, err := p.keys.UpdateMany(ctx, bson.D{{Key: "key_hash", Value: hash}}, bson.D{{Key: "$unset", Value: bson.D{{Key: "key_hash", Value: ""}}}})
	if err == nil {
		_, err = p.keys.UpdateOne(ctx, bson.D{{Key: "_id", Value: to}}, bson.D{{Key: "$set", Value: bson.D{{Key: "key_hash", Value: hash}}}})
	}
	if err != nil {
		_ = session.AbortTransaction(ctx)
		return err
	}
	return session.CommitTransaction(ctx)
}
