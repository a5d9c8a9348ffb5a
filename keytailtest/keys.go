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

// DefaultUser is the UserID of keys that are created without one.
const DefaultUser = "test-user"

// Key creates a key of DefaultUser with these scopes, and returns its text.
func (v *Validator) Key(scopes ...string) string {
	v.t.Helper()
	return v.Add(auth.Key{Scopes: scopes})
}

// Add creates a key with the fields of k, and returns its text. The default of UserID
// is DefaultUser, that of KeyID the next of key-1, key-2 and so on. A new key is always
// active. Times are truncated to milliseconds, as in MongoDB. The test fails if MongoDB
// could not store such a key.
//
//	key := v.Add(auth.Key{UserID: "ada", OrgID: "acme", Scopes: []string{"orders:read"}})
func (v *Validator) Add(k auth.Key) string {
	v.t.Helper()
	text := UnknownKey()
	v.mutex.Lock()
	defer v.mutex.Unlock()
	v.created++
	if k.KeyID == "" {
		k.KeyID = fmt.Sprintf("key-%d", v.created)
	}
	if k.UserID == "" {
		k.UserID = DefaultUser
	}
	k.Active = true
	v.putLocked(apikey.HashOf(text), &k)
	return text
}

// UnknownKey returns the text of a key that does not exist: auth.NotFound.
func UnknownKey() string {
	text, err := apikey.Generate(apikey.DefaultPrefix, nil)
	if err != nil {
		// The prefix is valid, and crypto/rand does not fail.
		panic(err)
	}
	return text
}

// Revoke disables a key: auth.Disabled. Change can enable it again.
func (v *Validator) Revoke(key string) {
	v.t.Helper()
	v.Change(key, func(k *auth.Key) { k.Active = false })
}

// Expire makes a key expire now: auth.Expired.
func (v *Validator) Expire(key string) {
	v.t.Helper()
	v.Change(key, func(k *auth.Key) { k.ExpiresAt = time.Now() })
}

// SetScopes replaces the scopes of a key.
func (v *Validator) SetScopes(key string, scopes ...string) {
	v.t.Helper()
	v.Change(key, func(k *auth.Key) { k.Scopes = scopes })
}

// Change changes any field of a key. The function must not call v. Earlier verdicts keep
// the earlier fields.
//
//	v.Change(key, func(k *auth.Key) { k.OrgID = "acme" })
func (v *Validator) Change(key string, change func(*auth.Key)) {
	v.t.Helper()
	v.write(key, func(hash apikey.Hash, record *apikey.Record) {
		k := auth.Key(*record)
		// Verdicts share the slices, so change gets copies.
		k.Scopes, k.AllowedIPs, k.Metadata = slices.Clone(k.Scopes), slices.Clone(k.AllowedIPs), slices.Clone(k.Metadata)
		change(&k)
		v.putLocked(hash, &k)
	})
}

// Delete deletes a key: auth.NotFound.
func (v *Validator) Delete(key string) {
	v.t.Helper()
	v.write(key, func(hash apikey.Hash, _ *apikey.Record) {
		delete(v.keys, hash)
		v.revision++
	})
}

// write changes a key under the lock, and reports the change.
func (v *Validator) write(key string, change func(apikey.Hash, *apikey.Record)) {
	v.t.Helper()
	hash := apikey.HashOf(key)
	v.mutex.Lock()
	defer v.mutex.Unlock()
	record := v.keys[hash]
	if record == nil {
		// The message does not contain the text: it may be a real key by mistake.
		v.t.Errorf("keytailtest: this Validator has no such key: it was never created here, or it was deleted")
		return
	}
	change(hash, record)
	v.watches.Changed(record.KeyID, uint64(v.revision))
}

// putLocked stores a key under its hash. The caller holds the lock.
func (v *Validator) putLocked(hash apikey.Hash, k *auth.Key) {
	v.t.Helper()
	record, err := roundTrip(k)
	for other, r := range v.keys {
		if other != hash && r.KeyID == k.KeyID {
			err = errors.Join(err, errors.New("KeyID: already used by another key"))
		}
	}
	if err != nil {
		v.t.Errorf("keytailtest: MongoDB could not store this key: %v", err)
		// keytail could not decode it either.
		record.Defect, record.DefectReason = err.Error(), apikey.ReasonUnreadable
	}
	v.revision++
	v.keys[hash] = record
}

// roundTrip returns the record as it would be read back from MongoDB, and why it could
// not be.
func roundTrip(k *auth.Key) (*apikey.Record, error) {
	record := apikey.Record(*k)
	record.Scopes = slices.Clone(k.Scopes)
	record.AllowedIPs = slices.Clone(k.AllowedIPs)
	record.Metadata = slices.Clone(k.Metadata)
	if !k.ExpiresAt.IsZero() {
		record.ExpiresAt = time.UnixMilli(k.ExpiresAt.UnixMilli()).UTC()
	}
	errs := []error{
		field("KeyID", apikey.ValidID(k.KeyID)), field("UserID", apikey.ValidID(k.UserID)),
		field("OrgID", optional(k.OrgID)), field("ProjectID", optional(k.ProjectID)), field("Name", apikey.ValidName(k.Name)),
		field("Metadata", validMetadata(k.Metadata)),
	}
	for i, scope := range k.Scopes {
		errs = append(errs, field(fmt.Sprintf("Scopes[%d]", i), apikey.ValidScope(scope)))
	}
	for i, network := range k.AllowedIPs {
		var err error
		record.AllowedIPs[i], err = canonical(network)
		errs = append(errs, field(fmt.Sprintf("AllowedIPs[%d]", i), err))
	}
	return &record, errors.Join(errs...)
}

func field(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", name, err)
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
	return errors.New("not a JSON object")
}

// canonical returns a network in the form in which keytail reads it.
func canonical(network netip.Prefix) (netip.Prefix, error) {
	return apikey.ParseNetwork(network.String())
}
