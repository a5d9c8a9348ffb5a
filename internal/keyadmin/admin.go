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

// CollectionName is the collection of the audit.
const CollectionName = "keytail_audit"

const (
	// DefaultTimeout bounds a call: an election takes a few seconds, and people
	// wait.
	DefaultTimeout = 10 * time.Second
	// undoTimeout bounds the removal of an audit entry after a call has failed.
	undoTimeout = 5 * time.Second
	// maxTries bounds how often a write without a transaction is repeated because
	// of a concurrent write. Each time, another write has succeeded.
	maxTries = 10
)

// Config of an Admin. Store and Audit are required.
type Config struct {
	Store *keystore.Store
	// Audit is the collection of the audit, of the same client as the store's.
	Audit *mongo.Collection
	// Validator answers requests, and says how. Nil: Explain fails.
	Validator Validator
	// Prefix of new keys. Empty: apikey.DefaultPrefix.
	Prefix string
	// Timeout bounds each call. Zero: DefaultTimeout.
	Timeout time.Duration
	// Now is the clock of creation times, expiries and the audit. Nil: time.Now.
	Now func() time.Time
	// Random is the source of secrets. Nil: crypto/rand.
	Random io.Reader
	// EnsureSchema lets Run create the indexes for lists of keys that are missing.
	// False: the log recommends them.
	EnsureSchema bool
	// AuditReads writes an entry for each read of keys, before its result is returned:
	// a read without an entry fails. False: reads are not in the audit.
	AuditReads bool
	// Logger: nil discards.
	Logger *zap.Logger
}

// Admin is safe for concurrent use. Only Run works without a call.
type Admin struct {
	config Config
	store  *keystore.Store
	audit  *mongo.Collection
	logger *zap.Logger
	// noTransactions: the server has none. Prepare finds out.
	noTransactions bool
	// perTransaction is keysPerTransaction, or less in a test.
	perTransaction int
}

// New checks the configuration. It does not connect.
func New(config Config) (*Admin, error) {
	if config.Store == nil || config.Audit == nil {
		return nil, errors.New("keyadmin: Config needs Store and Audit")
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
	return &Admin{config: config, store: config.Store, audit: audit, logger: config.Logger.Named("keyadmin"), perTransaction: keysPerTransaction}, nil
}

// Prepare creates the audit's collection and its indexes, and checks with the
// server whether it has transactions. The error describes what to do.
func (a *Admin) Prepare(ctx context.Context) error {
	if _, ok := ctx.Deadline(); !ok {
		return keystore.ErrNoDeadline
	}
	if err := a.prepareAudit(ctx); err != nil {
		return err
	}
	if !a.config.EnsureSchema {
		if err := a.store.CheckListIndexes(ctx); err != nil {
			a.logger.Warn("lists of keys are slow without their indexes", zap.Error(err))
		}
	}
	for _, warning := range a.store.NotWritten() {
		a.logger.Warn(warning)
	}
	has, err := a.store.HasTransactions(ctx)
	if err != nil {
		return fmt.Errorf("checking whether the server has transactions: %w", err)
	}
	if a.noTransactions = !has; a.noTransactions {
		a.logger.Warn("the server has no transactions: audit entries are written before the changes that they describe")
	}
	return nil
}

// Run creates the indexes for lists of keys that are missing, if Config.EnsureSchema allows
// it, and returns when MongoDB has built them, or when ctx ends. A start does not wait for
// it: with a million keys it takes longer than a start may. Lists are complete meanwhile.
func (a *Admin) Run(ctx context.Context) error {
	if !a.config.EnsureSchema {
		return nil
	}
	begin := time.Now()
	switch created, err := a.store.CreateListIndexes(ctx); {
	case ctx.Err() != nil:
	case err != nil:
		a.logger.Warn("lists of keys are slow without their indexes: create them, or restart keytail to try again", zap.Error(err))
	case created > 0:
		a.logger.Info("created indexes for lists of keys", zap.Int("indexes", created), zap.Duration("took", time.Since(begin)))
	}
	return nil
}

// Create creates a key. It is active, and only the response has its text.
func (a *Admin) Create(ctx context.Context, caller managedkey.Caller, fields managedkey.Fields) (managedkey.Written, error) {
	now := a.now()
	fields, err := caller.Claim(fields)
	if err != nil {
		return managedkey.Written{}, err
	}
	if err := fields.CheckNew(now); err != nil {
		return managedkey.Written{}, err
	}
	if caller.Owner != "" && *fields.UserID != caller.Owner {
		return managedkey.Written{}, managedkey.Invalid("user_id differs from the user_id in the query")
	}
	secret, hash, err := a.secret()
	if err != nil {
		return managedkey.Written{}, err
	}
	draft, err := a.store.Draft(keystore.NewKey{Hash: hash, KeyPrefix: apikey.DisplayPrefix(secret), CreatedAt: now, Fields: fieldsOf(fields)})
	if err != nil {
		return managedkey.Written{}, toManagedKeyErr(err)
	}
	written, err := a.write(ctx, func(context.Context) (*plan, error) {
		return &plan{
			entries: []entry{a.entry(caller, "create", nil, &draft.Details)},
			steps:   []step{a.insert(draft)},
			shown:   draft.Details, affects: draft.Details.Record.KeyID,
		}, nil
	})
	if err == nil {
		written.Secret = secret
	}
	return written, err
}

// Update changes fields of a key.
func (a *Admin) Update(ctx context.Context, caller managedkey.Caller, id string, fields managedkey.Fields) (managedkey.Written, error) {
	if err := fields.CheckChange(a.now()); err != nil {
		return managedkey.Written{}, err
	}
	return a.change(ctx, caller, "update", id, func(keystore.Details) (keystore.Fields, error) { return fieldsOf(fields), nil })
}

// Revoke disables a key. A key that is already disabled stays as it is, without
// an audit entry.
func (a *Admin) Revoke(ctx context.Context, caller managedkey.Caller, id string) (managedkey.Written, error) {
	off := false
	return a.change(ctx, caller, "revoke", id, func(keystore.Details) (keystore.Fields, error) { return keystore.Fields{Active: &off}, nil })
}

// change writes one document that exists.
func (a *Admin) change(ctx context.Context, caller managedkey.Caller, action, id string, change func(keystore.Details) (keystore.Fields, error)) (managedkey.Written, error) {
	return a.write(ctx, func(ctx context.Context) (*plan, error) {
		current, err := a.find(ctx, caller, id)
		if err != nil {
			return nil, err
		}
		fields, err := change(current)
		if err != nil {
			return nil, err
		}
		edit, err := a.store.Edit(current, fields, a.now())
		if err != nil {
			return nil, err
		}
		if edit.IsEmpty() {
			return &plan{shown: current}, nil
		}
		return &plan{
			entries: []entry{a.entry(caller, action, &current, &edit.After)},
			steps:   []step{a.edit(edit)},
			shown:   edit.After, affects: current.Record.KeyID,
		}, nil
	})
}

// Delete deletes the document of a key. The response shows it as it was.
func (a *Admin) Delete(ctx context.Context, caller managedkey.Caller, id string) (managedkey.Written, error) {
	return a.write(ctx, func(ctx context.Context) (*plan, error) {
		current, err := a.find(ctx, caller, id)
		if err != nil {
			return nil, err
		}
		return &plan{
			entries: []entry{a.entry(caller, "delete", &current, nil)},
			steps:   []step{a.remove(current)},
			shown:   current, affects: current.Record.KeyID,
		}, nil
	})
}

// Rotate creates a key with the same fields and lets this one expire, so that
// both are valid for a while. The key must be valid.
func (a *Admin) Rotate(ctx context.Context, caller managedkey.Caller, id string, overlap time.Duration) (managedkey.Written, error) {
	if err := managedkey.CheckOverlap(overlap); err != nil {
		return managedkey.Written{}, err
	}
	secret, hash, err := a.secret()
	if err != nil {
		return managedkey.Written{}, err
	}
	var end time.Time
	written, err := a.write(ctx, func(ctx context.Context) (*plan, error) {
		current, err := a.find(ctx, caller, id)
		if err != nil {
			return nil, err
		}
		p, err := a.rotation(caller, current, hash, apikey.DisplayPrefix(secret), overlap)
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

func (a *Admin) rotation(caller managedkey.Caller, current keystore.Details, hash apikey.Hash, keyPrefix string, overlap time.Duration) (*plan, error) {
	now := a.now()
	r := &current.Record
	if r.Defect != "" || !r.Active || !r.ExpiresAt.IsZero() && !r.ExpiresAt.After(now) {
		return nil, managedkey.ErrNotRotatable
	}
	end := now.Add(overlap)
	if !r.ExpiresAt.IsZero() && r.ExpiresAt.Before(end) {
		end = r.ExpiresAt
	}
	edit, err := a.store.Edit(current, keystore.Fields{ExpiresAt: &end}, now)
	if err != nil {
		return nil, err
	}
	draft, err := a.store.DraftSuccessor(current, hash, keyPrefix, now)
	if err != nil {
		return nil, err
	}
	e := a.entry(caller, "rotate", &current, &edit.After)
	e.NewKeyID = draft.Details.Record.KeyID
	steps := []step{a.insert(draft)}
	if !edit.IsEmpty() {
		steps = append(steps, a.edit(edit))
	}
	return &plan{
		entries: []entry{e}, steps: steps, shown: draft.Details, affects: draft.Details.Record.KeyID, end: edit.After.Record.ExpiresAt,
	}, nil
}

// find reads the key of a write, which must be as the caller has seen it.
func (a *Admin) find(ctx context.Context, caller managedkey.Caller, id string) (keystore.Details, error) {
	current, err := a.store.FindByID(ctx, id, caller.Owns)
	if err != nil {
		return keystore.Details{}, err
	}
	if caller.IfMatch == nil {
		return current, nil
	}
	for _, digest := range caller.IfMatch {
		if digest == current.Digest {
			return current, nil
		}
	}
	return keystore.Details{}, managedkey.ErrChanged
}

// secret makes the text of a new key, and its hash by the collection's rule.
func (a *Admin) secret() (text string, hash apikey.Hash, err error) {
	return a.store.Hasher().Generate(a.config.Prefix, a.config.Random)
}

// hashOf parses and hashes the text of a key as the validator does.
func (a *Admin) hashOf(text string) (apikey.Hash, error) {
	return a.store.Hasher().Parse(a.config.Prefix, text)
}

// now has the precision of MongoDB's dates.
func (a *Admin) now() time.Time { return a.config.Now().UTC().Truncate(time.Millisecond) }
