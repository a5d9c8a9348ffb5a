package playground

import (
	"context"
	"errors"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/timing"
)

// Reader reads keys from MongoDB.
type Reader interface {
	// Read is the answer to a request with the key of this text, by what a majority holds
	// now. ctx must have a deadline.
	Read(ctx context.Context, text string) (apikey.Code, error)
}

// Owner makes and changes keys. An error of a write leaves open whether it took effect.
type Owner interface {
	Reader
	// Create makes a key that is valid.
	Create(ctx context.Context) (Created, error)
	// SetActive revokes a key, or makes it valid again.
	SetActive(ctx context.Context, id string, active bool) error
	// Delete removes the document of a key.
	Delete(ctx context.Context, id string) error
}

// Created is a new key. Prefix is the part of the text that may be shown.
type Created struct{ ID, Text, Prefix string }

// Database is an Owner on a collection. Its store has a client of its own.
type Database struct {
	store  *keystore.Store
	prefix string
}

// NewDatabase uses a store. The prefix is that of new keys; empty: apikey.DefaultPrefix.
func NewDatabase(store *keystore.Store, prefix string) *Database {
	if prefix == "" {
		prefix = apikey.DefaultPrefix
	}
	return &Database{store, prefix}
}

// Read implements Reader.
func (d *Database) Read(ctx context.Context, text string) (apikey.Code, error) {
	hash, err := d.store.Hasher().Parse(d.prefix, text)
	if err != nil {
		return apikey.Malformed, nil //nolint:nilerr // the answer is that it is no key
	}
	document, found, err := d.store.FindByHash(ctx, hash, 0)
	switch {
	case err != nil:
		return apikey.Unavailable, err
	case !found:
		return apikey.NotFound, nil
	}
	return apikey.Decide(&document.Record, &apikey.Request{}, time.Now()), nil
}

// Create implements Owner.
func (d *Database) Create(ctx context.Context) (Created, error) {
	text, hash, err := d.store.Hasher().Generate(d.prefix, nil)
	if err != nil {
		return Created{}, err
	}
	user, shown := "playground", apikey.DisplayPrefix(text)
	draft, err := d.store.Draft(keystore.NewKey{Hash: hash, KeyPrefix: shown, CreatedAt: now(), Fields: keystore.Fields{UserID: &user}})
	if err != nil {
		return Created{}, err
	}
	err = retryWrite(ctx, keystore.ErrDuplicate, func() error { return d.store.Insert(ctx, draft) })
	return Created{ID: draft.Details.Record.KeyID, Text: text, Prefix: shown}, err
}

// SetActive implements Owner.
func (d *Database) SetActive(ctx context.Context, id string, active bool) error {
	return retryWrite(ctx, nil, func() error {
		current, err := d.store.FindByID(ctx, id, nil)
		if err != nil {
			return err
		}
		edit, err := d.store.Edit(current, keystore.Fields{Active: &active}, now())
		if err != nil {
			return err
		}
		_, err = d.store.Change(ctx, edit)
		return err
	})
}

// Delete implements Owner.
func (d *Database) Delete(ctx context.Context, id string) error {
	return retryWrite(ctx, keystore.ErrNoSuchKey, func() error {
		current, err := d.store.FindByID(ctx, id, nil)
		if err != nil {
			return err
		}
		return d.store.Delete(ctx, current)
	})
}

// retryPause is between two attempts of a write.
const retryPause = 100 * time.Millisecond

// retryWrite repeats a write, which may be done twice, while MongoDB does not answer: the driver
// gives up after one retry. done is the error of an attempt after one that took effect
// without an answer. Nil: there is none.
func retryWrite(ctx context.Context, done error, write func() error) error {
	for first := true; ; first = false {
		err := write()
		switch {
		case err == nil || !first && done != nil && errors.Is(err, done):
			return nil
		case !mongo.IsTimeout(err) && !mongo.IsNetworkError(err) && !errors.Is(err, context.DeadlineExceeded):
			return err
		case !timing.Sleep(ctx, retryPause):
			return err
		}
	}
}

// now has the precision of MongoDB's dates.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }
