package keytailtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/apikey"
)

// DefaultUser is whom a key speaks for that was made without a UserID.
const DefaultUser = "test-user"

// Key makes a key of DefaultUser with these scopes, and returns its text.
func (v *Validator) Key(scopes ...string) string {
	v.t.Helper()
	return v.Add(auth.Key{Scopes: scopes})
}

// Add makes a key that says what k says, and returns its text. An empty UserID is
// DefaultUser, an empty KeyID the next of key-1, key-2 and so on. Active need not be
// set: a new key is, until Revoke. Times are cut to milliseconds, as in the
// database. The test fails when the database could not hold such a key.
//
//	key := v.Add(auth.Key{UserID: "ada", OrgID: "acme", Scopes: []string{"orders:read"}})
func (v *Validator) Add(k auth.Key) string {
	v.t.Helper()
	text := UnknownKey()
	v.mutex.Lock()
	defer v.mutex.Unlock()
	v.made++
	if k.KeyID == "" {
		k.KeyID = fmt.Sprintf("key-%d", v.made)
	}
	if k.UserID == "" {
		k.UserID = DefaultUser
	}
	k.Active = true
	v.putLocked(apikey.HashOf(text), &k)
	return text
}

// UnknownKey is the text of a key that nobody has: auth.NotFound.
func UnknownKey() string {
	text, err := apikey.Generate(apikey.DefaultPrefix, nil)
	if err != nil {
		// The prefix is fine, and crypto/rand does not fail.
		panic(err)
	}
	return text
}

// Revoke switches a key off: auth.Disabled. Change can switch it on again.
func (v *Validator) Revoke(key string) {
	v.t.Helper()
	v.Change(key, func(k *auth.Key) { k.Active = false })
}

// Expire ends a key now: auth.Expired.
func (v *Validator) Expire(key string) {
	v.t.Helper()
	v.Change(key, func(k *auth.Key) { k.ExpiresAt = time.Now() })
}

// SetScopes replaces the scopes of a key.
func (v *Validator) SetScopes(key string, scopes ...string) {
	v.t.Helper()
	v.Change(key, func(k *auth.Key) { k.Scopes = scopes })
}

// Change changes a key in any way, by a function that calls nothing of v. Verdicts
// that were given before keep the key as it was.
//
//	v.Change(key, func(k *auth.Key) { k.OrgID = "acme" })
func (v *Validator) Change(key string, change func(*auth.Key)) {
	v.t.Helper()
	v.write(key, func(hash apikey.Hash, record *apikey.Record) {
		k := auth.Key(*record)
		// What a verdict shares must not be written to, not even by append.
		k.Scopes, k.AllowedIPs, k.Metadata = slices.Clone(k.Scopes), slices.Clone(k.AllowedIPs), slices.Clone(k.Metadata)
		change(&k)
		v.putLocked(hash, &k)
	})
}

// Delete removes a key: auth.NotFound.
func (v *Validator) Delete(key string) {
	v.t.Helper()
	v.write(key, func(hash apikey.Hash, _ *apikey.Record) {
		delete(v.keys, hash)
		v.revision++
	})
}

// write changes a key under the lock, and tells those who watch it.
func (v *Validator) write(key string, change func(apikey.Hash, *apikey.Record)) {
	v.t.Helper()
	hash := apikey.HashOf(key)
	v.mutex.Lock()
	defer v.mutex.Unlock()
	record := v.keys[hash]
	if record == nil {
		// Its text is not shown: it may be a real key, by mistake.
		v.t.Errorf("keytailtest: this is no key of this Validator, or it was deleted")
		return
	}
	change(hash, record)
	v.watches.Changed(record.KeyID, uint64(v.revision))
}

// putLocked stores a key under its hash. The caller holds the lock.
func (v *Validator) putLocked(hash apikey.Hash, k *auth.Key) {
	v.t.Helper()
	record, err := asStored(k)
	for other, r := range v.keys {
		if other != hash && r.KeyID == k.KeyID {
			err = errors.Join(err, errors.New("KeyID: another key has it"))
		}
	}
	if err != nil {
		v.t.Errorf("keytailtest: the database could not hold this key: %v", err)
		// Nor could keytail read it.
		record.Defect = err.Error()
	}
	v.revision++
	v.keys[hash] = record
}

// asStored is what is left of a key when the database has had it, on its way there
// and back, and why it could not be read.
func asStored(k *auth.Key) (*apikey.Record, error) {
	record := apikey.Record(*k)
	record.Scopes = slices.Clone(k.Scopes)
	record.AllowedIPs = slices.Clone(k.AllowedIPs)
	record.Metadata = slices.Clone(k.Metadata)
	if !k.ExpiresAt.IsZero() {
		record.ExpiresAt = time.UnixMilli(k.ExpiresAt.UnixMilli()).UTC()
	}
	errs := []error{
		named("KeyID", apikey.ValidID(k.KeyID)), named("UserID", apikey.ValidID(k.UserID)),
		named("OrgID", optional(k.OrgID)), named("ProjectID", optional(k.ProjectID)), named("Name", apikey.ValidName(k.Name)),
		named("Metadata", validMetadata(k.Metadata)),
	}
	for i, scope := range k.Scopes {
		errs = append(errs, named(fmt.Sprintf("Scopes[%d]", i), apikey.ValidScope(scope)))
	}
	for i, network := range k.AllowedIPs {
		var err error
		record.AllowedIPs[i], err = stored(network)
		errs = append(errs, named(fmt.Sprintf("AllowedIPs[%d]", i), err))
	}
	return &record, errors.Join(errs...)
}

func named(field string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", field, err)
}

func optional(id string) error {
	if id == "" {
		return nil
	}
	return apikey.ValidID(id)
}

func validMetadata(metadata json.RawMessage) error {
	if len(metadata) == 0 || json.Valid(metadata) && bytes.HasPrefix(bytes.TrimSpace(metadata), []byte("{")) {
		return nil
	}
	return errors.New("this is no JSON object")
}

// stored is a network in the form in which it is read from the database.
func stored(network netip.Prefix) (netip.Prefix, error) { return apikey.ParseNetwork(network.String()) }
