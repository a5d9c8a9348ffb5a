package keyadmin

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/managedkey"
	"github.com/keytail/keytail/internal/mongoclient"
)

// entry is an audit entry as it is stored.
type entry struct {
	ID        bson.ObjectID `bson:"_id"`
	At        time.Time     `bson:"at"`
	Actor     string        `bson:"actor"`
	Action    string        `bson:"action"`
	Cause     string        `bson:"cause,omitempty"`
	KeyID     string        `bson:"key_id"`
	NewKeyID  string        `bson:"new_key_id,omitempty"`
	UserID    string        `bson:"user_id"`
	OrgID     string        `bson:"org_id,omitempty"`
	RequestID string        `bson:"request_id"`
	// Source and Count are those of refusals; of a list, Count is the number of keys,
	// and Query has its conditions.
	Source string `bson:"source,omitempty"`
	Count  int64  `bson:"count,omitempty"`
	Query  bson.D `bson:"query,omitempty"`
	// Before and After are documents or null.
	Before bson.RawValue `bson:"before"`
	After  bson.RawValue `bson:"after"`
}

// entry describes the change from one key to another. Nil: the key does not
// exist.
func (a *Admin) entry(caller managedkey.Caller, action string, before, after *keystore.Details) entry {
	of := after
	if of == nil {
		of = before
	}
	e := newEntry(a.now(), action, caller)
	e.KeyID, e.UserID, e.OrgID = of.Record.KeyID, of.Record.UserID, of.Record.OrgID
	e.Before, e.After = difference(before, after)
	return e
}

// newEntry is an entry that is not about a change.
func newEntry(at time.Time, action string, caller managedkey.Caller) entry {
	null := bson.RawValue{Type: bson.TypeNull}
	return entry{
		ID: bson.NewObjectID(), At: at, Actor: caller.Actor, Action: action, RequestID: caller.RequestID,
		Before: null, After: null,
	}
}

// insertEntries writes entries by one command, in the session of ctx.
func (a *Admin) insertEntries(ctx context.Context, entries []entry) error {
	if _, err := a.audit.InsertMany(ctx, entries); err != nil {
		return a.explain("writing the audit", err)
	}
	return nil
}

// deleteEntry deletes the entry of a write that did not happen.
func (a *Admin) deleteEntry(ctx context.Context, e entry) error {
	_, err := a.audit.DeleteOne(ctx, bson.D{{Key: "_id", Value: e.ID}})
	return err
}

// The fields by which entries are sorted and found.
const (
	fieldID       = "_id"
	fieldAt       = "at"
	fieldKeyID    = "key_id"
	fieldNewKeyID = "new_key_id"
)

func (a *Admin) prepareAudit(ctx context.Context) error {
	down := func(first string, rest ...string) mongo.IndexModel {
		keys := bson.D{{Key: first, Value: 1}}
		if first == fieldAt {
			keys[0].Value = -1
		}
		for _, name := range rest {
			keys = append(keys, bson.E{Key: name, Value: -1})
		}
		return mongo.IndexModel{Keys: keys}
	}
	_, err := a.audit.Indexes().CreateMany(ctx, []mongo.IndexModel{
		down(fieldAt, fieldID), down(fieldKeyID, fieldAt), down(fieldNewKeyID, fieldAt),
	})
	if err != nil {
		return a.explain("preparing the audit", err)
	}
	return nil
}

// explain names the missing privilege, if that is the reason.
func (a *Admin) explain(doing string, err error) error {
	if keystore.NotAllowed(err) {
		return fmt.Errorf("%s is not allowed: grant the user of the connection string find, insert, remove and createIndex on collection %q of database %q, and find, insert, update and remove on that of the keys, or remove --admin-token-file: %w: %w",
			doing, a.audit.Name(), a.audit.Database().Name(), keystore.ErrUnauthorized, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// Audit reads entries, newest first.
func (a *Admin) Audit(ctx context.Context, caller managedkey.Caller, q managedkey.AuditQuery) (managedkey.AuditPage, error) {
	ctx, cancel := context.WithTimeout(ctx, a.config.Timeout)
	defer cancel()
	owner, err := caller.Select("")
	if err != nil {
		return managedkey.AuditPage{}, err
	}
	digest := listDigest(owner, q)
	filter, err := auditFilter(owner, q, digest)
	if err != nil {
		return managedkey.AuditPage{}, err
	}
	cursor, err := a.audit.Find(ctx, filter, mongoclient.WithComment(ctx, options.Find().
		SetSort(bson.D{{Key: fieldAt, Value: -1}, {Key: fieldID, Value: -1}}).
		SetLimit(int64(q.Limit)+1).
		SetAllowDiskUse(true))) // the server may use the index on the key, and sort
	if err != nil {
		return managedkey.AuditPage{}, toManagedKeyErr(a.explain("reading the audit", err))
	}
	var found []entry
	if err := cursor.All(ctx, &found); err != nil {
		return managedkey.AuditPage{}, toManagedKeyErr(a.explain("reading the audit", err))
	}
	var page managedkey.AuditPage
	if len(found) > q.Limit {
		found = found[:q.Limit]
		last := found[q.Limit-1]
		if page.Next, err = (auditCursor{last.At, last.ID, digest}).text(); err != nil {
			return managedkey.AuditPage{}, err
		}
	}
	for _, e := range found {
		page.Entries = append(page.Entries, e.toAuditEntry())
	}
	return page, nil
}

// auditFilter leaves out entries about several owners, such as a list, for those that
// may see one.
func auditFilter(owner managedkey.Owner, q managedkey.AuditQuery, digest []byte) (bson.D, error) {
	all := bson.A{bson.D{}}
	if owner.UserID != "" {
		all = append(all, bson.D{{Key: "user_id", Value: owner.UserID}})
	}
	if owner.OrgID != "" {
		all = append(all, bson.D{{Key: "org_id", Value: owner.OrgID}})
	}
	if q.Action != "" {
		all = append(all, bson.D{{Key: "action", Value: q.Action}})
	}
	if q.KeyID != "" {
		all = append(all, bson.D{{Key: "$or", Value: bson.A{bson.D{{Key: fieldKeyID, Value: q.KeyID}}, bson.D{{Key: fieldNewKeyID, Value: q.KeyID}}}}})
	}
	if q.After != "" {
		at, err := readAuditCursor(q.After, digest)
		if err != nil {
			return nil, err
		}
		// The first condition is a bound for the index, whatever else selects entries.
		all = append(all, bson.D{{Key: fieldAt, Value: bson.D{{Key: "$lte", Value: at.At}}}}, bson.D{{Key: "$or", Value: bson.A{
			bson.D{{Key: fieldAt, Value: bson.D{{Key: "$lt", Value: at.At}}}},
			bson.D{{Key: fieldAt, Value: at.At}, {Key: fieldID, Value: bson.D{{Key: "$lt", Value: at.ID}}}},
		}}})
	}
	return bson.D{{Key: "$and", Value: all}}, nil
}

// auditCursor is where the next page begins, and of which list.
type auditCursor struct {
	At   time.Time     `bson:"t"`
	ID   bson.ObjectID `bson:"i"`
	List []byte        `bson:"l"`
}

func (c auditCursor) text() (string, error) {
	data, err := bson.Marshal(c)
	return base64.RawURLEncoding.EncodeToString(data), err
}

func readAuditCursor(text string, digest []byte) (auditCursor, error) {
	var c auditCursor
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || bson.Raw(data).Validate() != nil || bson.Unmarshal(data, &c) != nil || string(c.List) != string(digest) || c.ID.IsZero() {
		return auditCursor{}, errCursor
	}
	return c, nil
}

var errCursor = managedkey.Invalid("the cursor does not belong to this list: start again without a cursor")

func listDigest(owner managedkey.Owner, q managedkey.AuditQuery) []byte {
	sum := sha256.Sum256([]byte("audit\x00" + owner.UserID + "\x00" + owner.OrgID + "\x00" + q.KeyID + "\x00" + q.Action))
	const enough = 8
	return sum[:enough]
}

func (e entry) toAuditEntry() managedkey.Entry {
	return managedkey.Entry{
		ID: e.ID.Hex(), At: e.At, Actor: e.Actor, Action: e.Action, Cause: e.Cause, RequestID: e.RequestID,
		KeyID: e.KeyID, NewKeyID: e.NewKeyID, UserID: e.UserID, OrgID: e.OrgID,
		Source: e.Source, Count: e.Count, Query: queryJSON(e.Query),
		Before: jsonOf(e.Before), After: jsonOf(e.After),
	}
}

// queryJSON is empty for no conditions.
func queryJSON(query bson.D) json.RawMessage {
	if len(query) == 0 {
		return nil
	}
	text, err := bson.MarshalExtJSON(query, false, false)
	if err != nil {
		return nil // not possible: they are texts and booleans
	}
	return text
}

// jsonOf is empty for null, and for a value that JSON cannot represent.
func jsonOf(v bson.RawValue) json.RawMessage {
	doc, ok := v.DocumentOK()
	if !ok {
		return nil
	}
	text, err := bson.MarshalExtJSON(doc, false, false)
	if err != nil || !json.Valid(text) {
		return nil
	}
	return text
}
