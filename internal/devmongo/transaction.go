package devmongo

import (
	"crypto/rand"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/clustertime"
)

// The states of a transaction.
const (
	txnOpen = iota
	txnCommitted
	txnAborted
)

// txn is a transaction: copies of the collections that it has used, and the changes
// that its commit will make immediately. A conflicting write outside the transaction does
// not wait; it makes the transaction fail.
type txn struct {
	id      *txnID
	state   int
	view    *catalog
	base    map[docKey]uint64 // the documents it has written, with their versions before
	entries []*logEntry
	at      clustertime.Time // of the commit
}

// docKey names a document in any view.
type docKey struct {
	ns  namespace
	key string
}

func newUUID() (u [16]byte) {
	_, _ = rand.Read(u[:]) // never fails
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	return u
}

// enterTxn starts, continues or ends a transaction.
func (o *op) enterTxn(number int64) error {
	if isTrue(o.a.value("autocommit")) {
		return refuse(codeInvalidOptions, "autocommit must be false if it is specified")
	}
	if o.flags&inTxn == 0 {
		return refuse(codeTxnNotSupported, "Cannot run '%s' in a multi-document transaction.", o.name)
	}
	if o.flags&writes != 0 && o.write.given != nil && o.name != "commitTransaction" && o.name != "abortTransaction" {
		return refuse(codeInvalidOptions, "writeConcern is not allowed within a multi-statement transaction")
	}
	if isTrue(o.a.value("startTransaction")) {
		if number == o.session.number {
			return refuse(50911, "Cannot start a transaction at given transaction number %d: a transaction with the same number is in progress or has ended", number)
		}
		o.session.begin(number)
		o.session.txn = &txn{id: &txnID{lsid: o.session.lsid, number: number}, view: newCatalog(), base: map[docKey]uint64{}}
	}
	o.txn = o.session.txn
	if o.txn == nil || number != o.session.number {
		o.txn = &txn{} // so that the error gets its label
		return refuse(codeNoSuchTransaction, "Given transaction number %d does not match any in-progress transactions.", number)
	}
	return o.checkTxnState()
}

func (o *op) checkTxnState() error {
	switch {
	case o.txn.state == txnAborted:
		return refuse(codeNoSuchTransaction, "Transaction %d has been aborted.", o.txn.id.number)
	case o.txn.state == txnCommitted && o.name != "commitTransaction":
		return refuse(codeTransactionCommitted, "Transaction %d has been committed.", o.txn.id.number)
	}
	return nil
}

// abortOn ends the transaction when one of its statements fails.
func (t *txn) abortOn(err error) {
	if err != nil && t.state == txnOpen {
		t.state, t.view, t.entries = txnAborted, nil, nil
	}
}

// lookup finds a collection in the view that the command reads, or returns nil. A
// transaction copies a collection when it uses it for the first time.
func (o *op) lookup(ns namespace) *collection {
	if o.txn == nil {
		return o.view.collections[ns]
	}
	c := o.txn.view.collections[ns]
	if current := o.s.applied.collections[ns]; c == nil && current != nil {
		c = current.clone()
		o.txn.view.collections[ns] = c
	}
	return c
}

// writable finds the collection that the command writes to, or creates it.
func (o *op) writable(ns namespace) (*collection, error) {
	if err := o.mayWrite(ns); err != nil {
		return nil, err
	}
	if o.txn != nil {
		if c := o.lookup(ns); c != nil {
			return c, nil
		}
		o.s.makeCollection(ns)
		return o.lookup(ns), nil
	}
	if c := o.s.applied.collections[ns]; c != nil {
		return c, nil
	}
	return o.s.makeCollection(ns), nil
}

func (o *op) mayWrite(ns namespace) error {
	if o.s.steppedDown != nil {
		return errNotPrimary()
	}
	if ns.db == "local" || ns.db == "config" || (ns.coll != "" && len(ns.coll) >= 7 && ns.coll[:7] == "system.") {
		return refuse(codeInvalidNamespace, "cannot write to '%s'", ns)
	}
	return nil
}

func errNotPrimary() *Error { return refuse(codeNotWritablePrimary, "not primary") }

// store stores a document in the collection and adds the change to the log. raw is the
// encoded document.
func (o *op) store(c *collection, d bson.D, raw bson.Raw, e *logEntry) error {
	id := field(d, "_id")
	if err := o.touch(c, canonical(id)); err != nil {
		return err
	}
	o.s.version++
	if err := c.put(d, raw, o.s.version); err != nil {
		return err
	}
	e.id, e.after = id, raw
	o.logChange(c, e)
	return nil
}

// erase removes a document.
func (o *op) erase(c *collection, r *row) error {
	if err := o.touch(c, r.doc.key); err != nil {
		return err
	}
	id := field(r.decoded(), "_id")
	c.remove(r.doc.key)
	o.logChange(c, &logEntry{kind: kindDelete, id: id})
	return nil
}

func (o *op) logChange(c *collection, e *logEntry) {
	e.ns, e.uuid = c.ns, c.uuid
	if o.txn != nil {
		e.txn = o.txn.id
		o.txn.entries = append(o.txn.entries, e)
		return
	}
	o.s.record(e)
}

func versionIn(c *collection, key string) uint64 {
	if c == nil || c.byID[key] == nil {
		return 0
	}
	return c.byID[key].version
}

// touch records a document that a transaction writes. It returns a conflict when the
// document was written outside the transaction since the collection was copied.
func (o *op) touch(c *collection, key string) error {
	if o.txn == nil {
		return nil
	}
	k := docKey{c.ns, key}
	if _, done := o.txn.base[k]; done {
		return nil
	}
	mine, theirs := versionIn(c, key), versionIn(o.s.applied.collections[c.ns], key)
	if mine != theirs {
		return errWriteConflict()
	}
	o.txn.base[k] = theirs
	return nil
}

func errWriteConflict() *Error {
	return refuse(codeWriteConflict, "Caused by :: Write conflict during plan execution and yielding is disabled. :: Please retry your operation or multi-document transaction.")
}

func commitTransaction(o *op) (bson.D, error) {
	if err := o.endsTxn(); err != nil {
		return nil, err
	}
	if o.txn.state == txnOpen {
		if err := o.commit(); err != nil {
			return nil, err
		}
	}
	if o.operationTime = o.txn.at; o.operationTime == 0 {
		o.operationTime = o.s.oplog.applied
	}
	o.txn = nil // so that waitForWrite waits
	return okReply(), nil
}

func (o *op) endsTxn() error {
	if o.txn == nil {
		return refuse(codeInvalidOptions, "%s must be run within a transaction", o.name)
	}
	return o.a.finish()
}

// commit applies the changes to copies of the current collections, and installs the
// copies if there is no conflict.
func (o *op) commit() error {
	for k, version := range o.txn.base {
		if versionIn(o.s.applied.collections[k.ns], k.key) != version {
			return errWriteConflict()
		}
	}
	fresh := map[namespace]*collection{}
	for _, e := range o.txn.entries {
		if err := o.s.replay(fresh, e); err != nil {
			return err
		}
	}
	for ns, c := range fresh {
		o.s.applied.collections[ns] = c
	}
	o.txn.state, o.txn.view = txnCommitted, nil
	if len(o.txn.entries) > 0 {
		o.txn.at = o.s.record(slices.Clone(o.txn.entries)...)
	}
	return nil
}

func (s *Server) replay(fresh map[namespace]*collection, e *logEntry) error {
	c := fresh[e.ns]
	if c == nil {
		current := s.applied.collections[e.ns]
		if current == nil || current.uuid != e.uuid {
			return errWriteConflict()
		}
		c = current.clone()
		fresh[e.ns] = c
	}
	if e.after == nil {
		c.remove(canonical(e.id))
		return nil
	}
	d, err := decode(e.after)
	if err != nil {
		return err
	}
	s.version++
	if c.put(d, e.after, s.version) != nil {
		return errWriteConflict() // another document has the key now
	}
	return nil
}

func abortTransaction(o *op) (bson.D, error) {
	if err := o.endsTxn(); err != nil {
		return nil, err
	}
	o.txn.state, o.txn.view, o.txn.entries = txnAborted, nil, nil
	return okReply(), nil
}
