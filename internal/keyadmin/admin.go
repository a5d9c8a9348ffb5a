package keyadmin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/managedkey"
)

// CollectionName is that of the audit.
const CollectionName = "keytail_audit"

const (
	// DefaultTimeout bounds a call: an election takes a few seconds, and people
	// wait.
	DefaultTimeout = 10 * time.Second
	// takeBackTimeout bounds the removal of a line after a call has failed.
	takeBackTimeout = 5 * time.Second
	// maxTries bounds how often a write without a transaction is tried when others
	// are faster. Each time, another one has succeeded.
	maxTries = 10
)

// Config of an Admin. Store and Audit are required.
type Config struct {
	Store *keystore.Store
	// Audit is where the lines go, of the same client as the store's.
	Audit *mongo.Collection
	// Prefix of new keys. Empty: apikey.DefaultPrefix.
	Prefix string
	// Timeout bounds each call. Zero: DefaultTimeout.
	Timeout time.Duration
	// Now is the clock of creation times, ends and the audit. Nil: time.Now.
	Now func() time.Time
	// Random makes secrets. Nil: crypto/rand.
	Random io.Reader
	// EnsureSchema makes the index for lists of keys where it is missing. False: the
	// log recommends it.
	EnsureSchema bool
	// Logger: nil is silent.
	Logger *zap.Logger
}

// Admin is safe for concurrent use, and has no goroutine of its own.
type Admin struct {
	config Config
	store  *keystore.Store
	schema keystore.Schema
	audit  *mongo.Collection
	logger *zap.Logger
	// alone: the server has no transactions. Prepare finds out.
	alone bool
}

// New checks the configuration and asks nobody.
func New(config Config) (*Admin, error) {
	if config.Store == nil || config.Audit == nil {
		return nil, errors.New("keyadmin: a store of keys and a collection for the audit are needed")
	}
	if config.Prefix == "" {
		config.Prefix = apikey.DefaultPrefix
	}
	if err := apikey.ValidPrefix(config.Prefix); err != nil {
		return nil, fmt.Errorf("keyadmin: %w", err)
	}
	if config.Timeout == 0 {
		config.Timeout = DefaultTimeout
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Logger == nil {
		config.Logger = zap.NewNop()
	}
	audit := config.Audit.Clone(options.Collection().
		SetReadConcern(readconcern.Majority()).
		SetReadPreference(readpref.Primary()).
		SetWriteConcern(writeconcern.Majority()))
	return &Admin{config: config, store: config.Store, schema: config.Store.Schema(), audit: audit, logger: config.Logger.Named("keyadmin")}, nil
}

// Prepare makes the audit's collection and its indexes, and asks the server
// whether it has transactions. The error is a sentence that says what to do.
func (a *Admin) Prepare(ctx context.Context) error {
	if _, ok := ctx.Deadline(); !ok {
		return keystore.ErrNoDeadline
	}
	if err := a.prepareAudit(ctx); err != nil {
		return err
	}
	if err := a.store.PrepareListIndex(ctx, a.config.EnsureSchema); err != nil {
		a.logger.Warn("lists of keys are slower than they could be", zap.Error(err))
	}
	has, err := a.store.HasTransactions(ctx)
	if err != nil {
		return fmt.Errorf("asking whether the server has transactions: %w", err)
	}
	if a.alone = !has; a.alone {
		a.logger.Warn("the server has no transactions, so lines of the audit are written before what they tell of")
	}
	return nil
}

// Create makes a key. It is on, and its text is in the answer alone.
func (a *Admin) Create(ctx context.Context, by managedkey.By, fields managedkey.Fields) (managedkey.Written, error) {
	now := a.now()
	if err := fields.CheckNew(now); err != nil {
		return managedkey.Written{}, err
	}
	if by.Owner != "" && *fields.UserID != by.Owner {
		return managedkey.Written{}, managedkey.Refuse("user_id is another one than the query's")
	}
	secret, hash, err := a.secret()
	if err != nil {
		return managedkey.Written{}, err
	}
	draft, err := a.schema.Draft(keystore.NewKey{Hash: hash, KeyPrefix: apikey.DisplayPrefix(secret), CreatedAt: now, Fields: fieldsOf(fields)})
	if err != nil {
		return managedkey.Written{}, inWords(err)
	}
	written, err := a.write(ctx, func(context.Context) (*plan, error) {
		return &plan{
			entry: a.entry(by, "create", nil, &draft.Shown),
			steps: []step{a.insert(draft)},
			shown: draft.Shown, names: draft.Shown.Record.KeyID,
		}, nil
	})
	if err == nil {
		written.Secret = secret
	}
	return written, err
}

// Update changes what is said of a key.
func (a *Admin) Update(ctx context.Context, by managedkey.By, id string, fields managedkey.Fields) (managedkey.Written, error) {
	if err := fields.CheckChange(a.now()); err != nil {
		return managedkey.Written{}, err
	}
	return a.change(ctx, by, "update", id, func(keystore.Shown) (keystore.Fields, error) { return fieldsOf(fields), nil })
}

// Revoke switches a key off. One that is off stays as it is, without a line.
func (a *Admin) Revoke(ctx context.Context, by managedkey.By, id string) (managedkey.Written, error) {
	off := false
	return a.change(ctx, by, "revoke", id, func(keystore.Shown) (keystore.Fields, error) { return keystore.Fields{Active: &off}, nil })
}

// change is a write of one document that exists.
func (a *Admin) change(ctx context.Context, by managedkey.By, action, id string, say func(keystore.Shown) (keystore.Fields, error)) (managedkey.Written, error) {
	return a.write(ctx, func(ctx context.Context) (*plan, error) {
		was, err := a.find(ctx, by, id)
		if err != nil {
			return nil, err
		}
		fields, err := say(was)
		if err != nil {
			return nil, err
		}
		edit, err := a.schema.Edit(was, fields, a.now())
		if err != nil {
			return nil, err
		}
		if edit.Nothing() {
			return &plan{shown: was}, nil
		}
		return &plan{
			entry: a.entry(by, action, &was, &edit.After),
			steps: []step{a.edit(edit)},
			shown: edit.After, names: was.Record.KeyID,
		}, nil
	})
}

// Delete removes a key and what is said of it. The answer shows it as it was.
func (a *Admin) Delete(ctx context.Context, by managedkey.By, id string) (managedkey.Written, error) {
	return a.write(ctx, func(ctx context.Context) (*plan, error) {
		was, err := a.find(ctx, by, id)
		if err != nil {
			return nil, err
		}
		return &plan{
			entry: a.entry(by, "delete", &was, nil),
			steps: []step{a.remove(was)},
			shown: was, names: was.Record.KeyID,
		}, nil
	})
}

// Rotate makes a key that says what this one says, and gives this one an end, so
// that both are valid for a while. It must be valid itself.
func (a *Admin) Rotate(ctx context.Context, by managedkey.By, id string, overlap time.Duration) (managedkey.Written, error) {
	if err := managedkey.CheckOverlap(overlap); err != nil {
		return managedkey.Written{}, err
	}
	secret, hash, err := a.secret()
	if err != nil {
		return managedkey.Written{}, err
	}
	var end time.Time
	written, err := a.write(ctx, func(ctx context.Context) (*plan, error) {
		was, err := a.find(ctx, by, id)
		if err != nil {
			return nil, err
		}
		p, err := a.rotation(by, was, hash, apikey.DisplayPrefix(secret), overlap)
		if err != nil {
			return nil, err
		}
		end = p.end
		return p, nil
	})
	if err == nil {
		written.Secret, written.PreviousExpiresAt = secret, end
	}
	return written, err
}

func (a *Admin) rotation(by managedkey.By, was keystore.Shown, hash apikey.Hash, keyPrefix string, overlap time.Duration) (*plan, error) {
	now := a.now()
	r := &was.Record
	if r.Defect != "" || !r.Active || !r.ExpiresAt.IsZero() && !r.ExpiresAt.After(now) {
		return nil, managedkey.ErrNotRotatable
	}
	end := now.Add(overlap)
	if !r.ExpiresAt.IsZero() && r.ExpiresAt.Before(end) {
		end = r.ExpiresAt
	}
	edit, err := a.schema.Edit(was, keystore.Fields{ExpiresAt: &end}, now)
	if err != nil {
		return nil, err
	}
	draft, err := a.schema.Successor(was, hash, keyPrefix, now)
	if err != nil {
		return nil, err
	}
	entry := a.entry(by, "rotate", &was, &edit.After)
	entry.NewKeyID = draft.Shown.Record.KeyID
	steps := []step{a.insert(draft)}
	if !edit.Nothing() {
		steps = append(steps, a.edit(edit))
	}
	return &plan{
		entry: entry, steps: steps, shown: draft.Shown, names: draft.Shown.Record.KeyID, end: edit.After.Record.ExpiresAt,
	}, nil
}

// Get reads a key.
func (a *Admin) Get(ctx context.Context, by managedkey.By, id string) (managedkey.Key, error) {
	ctx, cancel := context.WithTimeout(ctx, a.config.Timeout)
	defer cancel()
	shown, err := a.store.FindNamed(ctx, id, by.Owner)
	return keyOf(shown), inWords(err)
}

// List reads keys, the newest first.
func (a *Admin) List(ctx context.Context, by managedkey.By, q managedkey.Query) (managedkey.Page, error) {
	ctx, cancel := context.WithTimeout(ctx, a.config.Timeout)
	defer cancel()
	found, err := a.store.List(ctx, keystore.Query{UserID: by.Owner, IncludeInactive: q.IncludeInactive, After: q.After, Limit: q.Limit})
	if err != nil {
		return managedkey.Page{}, inWords(err)
	}
	page := managedkey.Page{Next: found.Next}
	for _, shown := range found.Keys {
		page.Keys = append(page.Keys, keyOf(shown))
	}
	return page, nil
}

// find reads the key of a write, which must be as the caller has seen it.
func (a *Admin) find(ctx context.Context, by managedkey.By, id string) (keystore.Shown, error) {
	was, err := a.store.FindNamed(ctx, id, by.Owner)
	if err != nil {
		return keystore.Shown{}, err
	}
	if by.IfMatch == nil {
		return was, nil
	}
	for _, digest := range by.IfMatch {
		if digest == was.Digest {
			return was, nil
		}
	}
	return keystore.Shown{}, managedkey.ErrChanged
}

// secret makes the text of a new key, and its hash by the collection's rule.
func (a *Admin) secret() (text string, hash apikey.Hash, err error) {
	after := a.schema.HashAfter
	if text, err = apikey.Generate(a.config.Prefix, a.config.Random); err != nil {
		return "", apikey.Hash{}, err
	}
	if hash, err = apikey.ParseAfter(a.config.Prefix, after, text); err == nil {
		return text, hash, nil
	}
	// Keys of this collection begin otherwise than ours.
	text = after + text
	hash, err = apikey.ParseAfter(a.config.Prefix, after, text)
	return text, hash, err
}

// now has the precision of MongoDB's dates.
func (a *Admin) now() time.Time { return a.config.Now().UTC().Truncate(time.Millisecond) }
