package integration

import (
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/keycache"
)

// duplicateAnomalies are anomalies of a collection whose unique index has been dropped: two
// documents have the hash, one is active and one is disabled, and a lookup returns the
// disabled one.
func duplicateAnomalies() []anomaly {
	return []anomaly{
		{name: "duplicate in a change", shows: []string{"ChangeSole"}, stage: onParts(duplicateInChange), scopes: noStream},
		{name: "duplicate in a read by id", shows: []string{"RenewSole"}, stage: onParts(duplicateInRefresh), scopes: noStream},
		{name: "duplicate that is changed after a read of both", shows: []string{"AmbiguousMark"}, stage: onParts(duplicateAfterRead), scopes: noStream},
		{name: "duplicate that is changed during a read of both", shows: []string{"AmbiguousRevalidate"}, stage: onParts(duplicateDuringRead), scopes: noStream},
		{name: "duplicate that a scan has passed", shows: []string{"SeenTwice"}, stage: onParts(duplicatePassed), scopes: noStream},
		{name: "duplicate that a failed scan has seen alone", shows: []string{"MarkOverlay"}, stage: onParts(duplicateSeenAlone), scopes: noStream},
		{name: "duplicate that a scan has not reached", shows: []string{"Provisional"}, stage: onParts(duplicateNotReached), scopes: noStream},
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
	scan, err := p.cache.BeginScan(keycache.ScanIntoEmpty, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	return scan
}

func duplicatePassed(p *parts) string {
	p.duplicates()
	p.passBoth(p.beginScan())
	return violation(p.validate(), apikey.Disabled)
}

func duplicateNotReached(p *parts) string {
	p.duplicates()
	p.beginScan().Add(p.hash, duplicate(duplicateID, true))
	return violation(p.validate(), apikey.Disabled)
}

// duplicateSeenAlone: an audit sees the active document and fails. The scan that follows sees both.
func duplicateSeenAlone(p *parts) string {
	p.duplicates()
	p.passBoth(p.beginScan())
	audit, err := p.cache.BeginScan(keycache.ScanInPlace, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	audit.Add(p.hash, duplicate(duplicateID, true))
	audit.Abandon()
	p.passBoth(p.beginScan())
	return violation(p.validate(), apikey.Disabled)
}

// passBoth makes a scan that sees both documents.
func (p *parts) passBoth(scan *keycache.Scan) {
	scan.Add(p.hash, duplicate(partsID, false))
	scan.Add(p.hash, duplicate(duplicateID, true))
	if err := scan.Finish(); err != nil {
		p.t.Fatal(err)
	}
}
