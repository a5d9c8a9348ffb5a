package soak

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/apikey"
)

const (
	// writers each own slots, and make a write each writePace.
	writers, slots = 8, 6
	writePace      = 600 * time.Millisecond
	// writeTimeout bounds a write. Its outcome is then unknown.
	writeTimeout = 5 * time.Second
	// overlap of a rotation is longer than writeTimeout, so that nobody sees the old key
	// expire before its expiry is recorded.
	overlap = 8 * time.Second
	// rest is how long a key stays in a state before the next write.
	rest = 3 * time.Second
)

// slot is a place for one key at a time. One writer owns it.
type slot struct {
	key
	// state is that of the last acknowledged write. NotFound: the slot is free.
	state apikey.Code
	// unknown: the outcome of the last write is unknown, so nobody validates the key.
	unknown bool
	// since is the time of the last write.
	since time.Time
}

// writer creates, revokes, rotates and deletes keys: through the admin API, and as an
// application that writes the collection itself.
type writer struct {
	*load
	collection *mongo.Collection
	random     *rand.Rand
	slots      []*slot
}

func newWriter(l *load, collection *mongo.Collection, random *rand.Rand) *writer {
	w := &writer{load: l, collection: collection, random: random}
	for range slots {
		w.slots = append(w.slots, &slot{state: apikey.NotFound})
	}
	return w
}

// write makes one write to a random slot. It ends what it has begun.
func (w *writer) write(ctx context.Context) {
	s := w.slots[w.random.IntN(len(w.slots))]
	if time.Since(s.since) < rest {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	switch {
	case s.unknown:
		w.forget(ctx, s)
	case s.state == apikey.NotFound:
		w.create(ctx, s)
	case s.state == apikey.Valid && w.random.IntN(3) == 0:
		w.rotate(ctx, s)
	case s.state == apikey.Valid:
		w.revoke(ctx, s)
	default:
		w.remove(ctx, s)
	}
	s.since = time.Now()
}

func (w *writer) create(ctx context.Context, s *slot) {
	sent := time.Now()
	written, ok := w.admin(ctx, "create", http.MethodPost, "/v1/keys", map[string]any{"user_id": "soak", "name": "churn", "scopes": []string{"orders:read"}})
	if ok {
		w.created(s, written, sent)
	}
}

func (w *writer) created(s *slot, written api.WrittenKey, sent time.Time) {
	s.key, s.state = key{written.ID, written.Secret}, apikey.Valid
	w.keys.history.AddWrite(s.id, apikey.Valid, sent)(time.Now())
	w.keys.add(s.key)
}

// rotate replaces the key. The old one stays asked until it is past its expiry.
func (w *writer) rotate(ctx context.Context, s *slot) {
	sent, old := time.Now(), s.key
	written, ok := w.admin(ctx, "rotate", http.MethodPost, "/v1/keys/"+s.id+"/rotate", api.RotateRequest{OverlapSeconds: int64(overlap.Seconds())})
	if !ok || written.PreviousExpiresAt == nil {
		w.lose(s)
		return
	}
	w.keys.history.AddExpiringWrite(old.id, apikey.Valid, sent, written.PreviousExpiresAt.Time)(time.Now())
	w.created(s, written, sent)
	w.slots = append(w.slots, &slot{key: old, state: apikey.Expired, since: time.Now().Add(overlap)})
}

// revoke disables the key, in one of two ways.
func (w *writer) revoke(ctx context.Context, s *slot) {
	sent := time.Now()
	acknowledged := w.keys.history.AddWrite(s.id, apikey.Disabled, sent)
	var ok bool
	if w.random.IntN(2) == 0 {
		_, ok = w.admin(ctx, "revoke", http.MethodPost, "/v1/keys/"+s.id+"/revoke", nil)
	} else {
		ok = w.revokeDirectly(ctx, s)
	}
	if !ok {
		w.lose(s)
		return
	}
	acknowledged(time.Now())
	s.state = apikey.Disabled
}

// remove deletes the document, which frees the slot.
func (w *writer) remove(ctx context.Context, s *slot) {
	acknowledged := w.keys.history.AddWrite(s.id, apikey.NotFound, time.Now())
	_, ok := w.admin(ctx, "delete", http.MethodDelete, "/v1/keys/"+s.id, nil)
	if !ok {
		w.lose(s)
		return
	}
	acknowledged(time.Now())
	w.free(s)
}

// lose stops requests for a key whose last write has an unknown outcome.
func (w *writer) lose(s *slot) {
	w.keys.remove(s.key)
	s.unknown = true
}

// revokeDirectly writes as a client that does not know keytail.
func (w *writer) revokeDirectly(ctx context.Context, s *slot) bool {
	const kind = "revoke in the collection"
	result, err := w.collection.UpdateOne(ctx, s.filter(), bson.D{{Key: "$set", Value: bson.D{{Key: "is_active", Value: false}}}})
	if err != nil {
		w.recorder.did(kind + withoutSuccess)
		return false
	}
	if w.recorder.did(kind); result.MatchedCount != 1 {
		w.recorder.wrongf("%s: the collection does not hold the key %s", kind, s.id)
		return false
	}
	return true
}

// forget deletes the document of a key that nobody validates any more.
func (w *writer) forget(ctx context.Context, s *slot) {
	if _, err := w.collection.DeleteOne(ctx, s.filter()); err != nil {
		return // again, later
	}
	w.free(s)
}

// filter finds the document of the key.
func (k key) filter() bson.D { return bson.D{{Key: "key_hash", Value: apikey.HashOf(k.text).Hex()}} }

func (w *writer) free(s *slot) {
	w.keys.remove(s.key)
	*s = slot{state: apikey.NotFound}
	if len(w.slots) <= slots {
		return
	}
	for i := range w.slots { // a place that a rotation has added
		if w.slots[i] == s {
			w.slots = append(w.slots[:i], w.slots[i+1:]...)
			return
		}
	}
}

// withoutSuccess follows a kind of write: it failed, or its outcome is unknown.
const withoutSuccess = ", without success"

// admin calls the admin API. Without success the outcome counts as unknown.
func (w *writer) admin(ctx context.Context, kind, method, path string, body any) (api.WrittenKey, bool) {
	var written api.WrittenKey
	status, err := w.json(ctx, method, w.daemon.Admin, path, w.daemon.AdminToken, body, &written)
	switch {
	case err == nil && status < http.StatusMultipleChoices:
		w.recorder.did(kind)
		return written, true
	case err != nil && !errors.Is(err, context.DeadlineExceeded):
		w.recorder.wrongf("%s: %v", kind, err)
	case err == nil && status != http.StatusServiceUnavailable:
		w.recorder.wrongf("%s: status %d", kind, status)
	}
	w.recorder.did(kind + withoutSuccess)
	return written, false
}
