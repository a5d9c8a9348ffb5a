package integration

import (
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/keycache"
)

// duplicateAnomalies are anomalies of a collection whose unique index has been dropped: two
// documents have the hash, one is active and one is disabled, and a lookup returns the
// disabled one. The last one is about the end of a complete cache.
func duplicateAnomalies() []anomaly {
	return []anomaly{
		{name: "duplicate in a change", shows: []string{"ChangeSole"}, stage: onParts(duplicateInChange), scopes: noStream},
		{name: "duplicate in a read by id", shows: []string{"RenewSole"}, stage: onParts(duplicateInRefresh), scopes: noStream},
		{name: "duplicate that is changed after a read of both", shows: []string{"AmbiguousMark"}, stage: onParts(duplicateAfterRead), scopes: noStream},
		{name: "duplicate that is changed during a read of both", shows: []string{"AmbiguousRevalidate"}, stage: onParts(duplicateDuringRead), scopes: noStream},
		{name: "duplicate that a scan has passed", shows: []string{"SeenTwice"}, stage: onParts(duplicatePassed), scopes: noStream},
		{name: "duplicate that a scan has not reached", shows: []string{"Provisional"}, stage: onParts(duplicateNotReached), scopes: noStream},
		{name: "completeness that ends", shows: []string{"CoveredStays"}, stage: onParts(completenessEnds), scopes: noStream},
	}
}

const duplicateID = apikey.DocID("the duplicate")

// duplicate returns a document with the key's hash as the cache gets it. The record's id
// tells which document it is.
func duplicate(id apikey.DocID, active bool) keycache.Finding {
	return keycache.Found(id, &apikey.Record{KeyID: string(id), UserID: "user-1", Active: active})
}

// duplicates opens the stream after two documents have the hash. A lookup finds the
// disabled one.
func (p *parts) duplicates() {
	p.write(false)
	p.open()
}

// changed applies a replace event of the document.
func (p *parts) changed(id apikey.DocID, active bool) {
	p.cache.Apply(&keycache.Change{ID: id, Time: p.write(false), Hash: p.hash, HasHash: true, Record: duplicate(id, active).Record})
	p.fresh()
}

func duplicateInChange(p *parts) string {
	p.duplicates()
	p.changed(duplicateID, true)
	return violation(p.validate(), apikey.Disabled)
}

func duplicateInRefresh(p *parts) string {
	p.duplicates()
	p.cache.StoreByID(p.cache.Begin(), p.hash, duplicate(duplicateID, true))
	return violation(p.validate(), apikey.Disabled)
}

// both returns the finding of a read that found two documents.
func both(f keycache.Finding) keycache.Finding {
	f.Ambiguous = true
	return f
}

// duplicateAfterRead: a read finds both disabled, and then one becomes active.
func duplicateAfterRead(p *parts) string {
	p.duplicates()
	p.cache.Store(p.cache.Begin(), p.hash, both(duplicate(duplicateID, false)))
	p.changed(duplicateID, true)
	return violation(p.validate(), apikey.Disabled)
}

// duplicateDuringRead: a read finds both active, and the one that the read does not return
// is disabled before a caller joins the read.
func duplicateDuringRead(p *parts) string {
	p.write(true)
	p.open()
	ticket := p.cache.Begin()
	p.deliver(p.write(false))
	if a, ok := p.cache.Revalidate(ticket, p.hash, both(duplicate(duplicateID, true))); ok && a.Record.Active {
		return "the key is revalidated as active although one of its documents is disabled"
	}
	return ""
}

func (p *parts) beginScan() *keycache.Scan {
	scan, err := p.cache.BeginScan(keycache.ScanIntoEmpty)
	if err != nil {
		p.t.Fatal(err)
	}
	return scan
}

func duplicatePassed(p *parts) string {
	p.duplicates()
	scan := p.beginScan()
	scan.Add(p.hash, duplicate(partsID, false))
	scan.Add(p.hash, duplicate(duplicateID, true))
	if err := scan.Finish(); err != nil {
		p.t.Fatal(err)
	}
	return violation(p.validate(), apikey.Disabled)
}

func duplicateNotReached(p *parts) string {
	p.duplicates()
	p.beginScan().Add(p.hash, duplicate(duplicateID, true))
	return violation(p.validate(), apikey.Disabled)
}

// completenessEnds: a document with an unreadable hash appears long after the scan. No
// entry was evicted, so the cache still answers for the key.
func completenessEnds(p *parts) string {
	p.write(true)
	p.open()
	p.scan()
	time.Sleep(2 * keycache.DefaultMaxAge)
	p.cache.Apply(&keycache.Change{ID: "another document", Time: p.write(true), Unreadable: true})
	p.fresh()
	if _, ok := p.cache.Get(p.hash); !ok {
		return "the key is a miss although nothing was evicted"
	}
	return violation(p.validate(), apikey.Valid)
}
