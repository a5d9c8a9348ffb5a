package integration

import (
	"bytes"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/mongotest"
)

// eventOf returns the part of a message from the beginning of the event of a key.
func eventOf(message []byte, k key) []byte {
	at := bytes.Index(message, []byte(k.id))
	return message[bytes.LastIndex(message[:at], []byte("\x02operationType\x00")):]
}

// without makes the embedded document, or the text, that follows a header claim to have no length.
func without(message []byte, header string) {
	at := bytes.Index(message, []byte(header)) + len(header)
	clear(message[at : at+4])
}

// TestMalformedRepliesEndNothing: a reply that is not what MongoDB sends is counted, the service goes on,
// and a key that is revoked by it, or next to it, is refused.
func TestMalformedRepliesEndNothing(t *testing.T) {
	const losses, undecodable = "keytail_losses_total", "undecodable_event"
	for _, c := range []struct {
		name string
		// parts are what the message contains, beside the key's id if ofKey is set.
		parts  []string
		ofKey  bool
		change func(message []byte, k key)
		metric []string
	}{
		{
			"an event with a namespace without length",
			[]string{"nextBatch", "updateDescription"},
			true,
			func(message []byte, k key) { without(eventOf(message, k), "\x03ns\x00") },
			[]string{losses, undecodable},
		},
		{
			"an event with a documentKey without length",
			[]string{"nextBatch", "updateDescription"},
			true,
			func(message []byte, k key) { without(eventOf(message, k), "\x03documentKey\x00") },
			[]string{losses, undecodable},
		},
		{
			"an update whose fields are an array",
			[]string{"nextBatch", "updateDescription"},
			true,
			func(message []byte, k key) {
				event := eventOf(message, k)
				event[bytes.Index(event, []byte("\x03updatedFields\x00"))] = byte(bson.TypeArray)
			},
			[]string{losses, undecodable},
		},
		{
			"a batch that is no array",
			[]string{"nextBatch", "updateDescription"},
			true,
			func(message []byte, _ key) {
				message[bytes.Index(message, []byte("\x04nextBatch\x00"))] = byte(bson.TypeEmbeddedDocument)
			},
			[]string{"keytail_stream_failures_total", "resumed_by_driver"},
		},
		{
			"an acknowledgement without a time",
			[]string{"nModified", "\x11operationTime\x00"},
			false,
			func(message []byte, _ key) {
				message[bytes.Index(message, []byte("\x11operationTime\x00"))+1]++
			},
			[]string{"keytail_heartbeats_total", "failed"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, s := throughShim(t, mongotest.ScopeDatabase)
			k := r.newKey()
			r.waitForCode(k, apikey.Valid)
			r.waitUntilCached(k)
			before, parts := r.metric(c.metric[0], c.metric[1:]...), c.parts
			if c.ofKey {
				parts = append(parts, k.id)
			}
			s.once(func(message []byte) { c.change(message, k) }, parts...)
			if c.ofKey {
				r.set(k, "is_active", false)
			}
			mongotest.Eventually(t, testkit.WaitTimeout, func() bool { return r.metric(c.metric[0], c.metric[1:]...) > before }, "not counted")
			if !c.ofKey {
				r.set(k, "is_active", false)
			}
			if v := r.validateSince(k, time.Now()); v.Code != apikey.Disabled {
				t.Errorf("got %+v", v)
			}
			other := r.newKey()
			r.waitForCode(other, apikey.Valid)
			r.waitUntilCached(other)
		})
	}
}

// TestRepliesThatTheDriverDoesNotSurvive shows the sentence about them in docs/security.md. When it fails
// after an update of the driver, remove there what it survives.
func TestRepliesThatTheDriverDoesNotSurvive(t *testing.T) {
	for name, change := range map[string]func(message []byte){
		"operationTime of another type": func(message []byte) {
			message[bytes.Index(message, []byte("\x11operationTime\x00"))] = byte(bson.TypeDateTime)
		},
		"clusterTime of another type": func(message []byte) {
			message[bytes.Index(message, []byte("\x11clusterTime\x00"))] = byte(bson.TypeDateTime)
		},
		"no firstBatch": func(message []byte) { message[bytes.Index(message, []byte("firstBatch\x00"))]++ },
	} {
		t.Run(name, func(t *testing.T) {
			s, through := newShim(t, mongotest.StartDevmongo(t, devmongo.Config{}))
			keys := through.Client(t).Database("app").Collection("keys")
			s.once(change, "firstBatch")
			defer func() {
				if recover() == nil {
					t.Error("the driver does not panic")
				}
			}()
			cursor, err := keys.Find(t.Context(), bson.D{})
			if err == nil {
				err = cursor.All(t.Context(), &[]bson.Raw{})
			}
			t.Log(err)
		})
	}
}
