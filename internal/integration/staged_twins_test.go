package integration

import (
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/keycache"
)

// twinAnomalies are those of a collection whose unique index has been dropped: two
// documents have the hash, one is active and one is disabled, and a lookup returns the
// one that refuses. Another one is about the end of a complete cache.
func twinAnomalies() []anomaly {
	return []anomaly{
		{name: "twin in a change", shows: []string{"ChangeSole"}, stage: onParts(twinInChange), scopes: noStream},
		{name: "twin in a read by id", shows: []string{"RenewSole"}, stage: onParts(twinInRefresh), scopes: noStream},
		{name: "twin that is changed after a read of both", shows: []string{"AmbiguousMark"}, stage: onParts(twinAfterRead), scopes: noStream},
		{name: "twin that is changed during a read of both", shows: []string{"AmbiguousRevalidate"}, stage: onParts(twinDuringRead), scopes: noStream},
		{name: "twin that a scan has passed", shows: []string{"SeenTwice"}, stage: onParts(twinPassed), scopes: noStream},
		{name: "twin that a scan has not reached", shows: []string{"Provisional"}, stage: onParts(twinNotReached), scopes: noStream},
		{name: "completeness that ends", shows: []string{"CoveredStays"}, stage: onParts(completenessEnds), scopes: noStream},
	}
}

const twinID = apikey.DocID("the twin")

// twin is a document of the key's hash as the cache sees it. Its record says which.
func twin(id apikey.DocID, active bool) keycache.Finding {
	return keycache.Found(id, &apikey.Record{KeyID: string(id), UserID: "user-1", Active: active})
}

// twins opens the stream after two documents have got the hash. A look-up finds the
// disabled one.
func (p *parts) twins() {
	p.write(false)
	p.open()
}

// changed applies a replace of the document.
func (p *parts) changed(id apikey.DocID, active bool) {
	p.cache.Apply(&keycache.Change{ID: id, Time: p.write(false), Hash: p.hash, HasHash: true, Record: twin(id, active).Record})
	p.fresh()
}

func twinInChange(p *parts) string {
	p.twins()
	p.changed(twinID, true)
	return wrong(p.ask(), apikey.Disabled)
}

func twinInRefresh(p *parts) string {
	p.twins()
	p.cache.StoreByID(p.cache.Begin(), p.hash, twin(twinID, true))
	return wrong(p.ask(), apikey.Disabled)
}

// both is what a read of two documents finds.
func both(f keycache.Finding) keycache.Finding {
	f.Ambiguous = true
	return f
}

// twinAfterRead: both are disabled when they are read, and one becomes active.
func twinAfterRead(p *parts) string {
	p.twins()
	p.cache.Store(p.cache.Begin(), p.hash, both(twin(twinID, false)))
	p.changed(twinID, true)
	return wrong(p.ask(), apikey.Disabled)
}

// twinDuringRead: both are active when they are read, and the one that the read does
// not name is disabled before a caller joins it.
func twinDuringRead(p *parts) string {
	p.write(true)
	p.open()
	ticket := p.cache.Begin()
	p.told(p.write(false))
	if a, ok := p.cache.Revalidate(ticket, p.hash, both(twin(twinID, true))); ok && a.Record.Active {
		return "the key is vouched for as active, and one of its documents is disabled"
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

func twinPassed(p *parts) string {
	p.twins()
	scan := p.beginScan()
	scan.Add(p.hash, twin(partsID, false))
	scan.Add(p.hash, twin(twinID, true))
	if err := scan.Finish(); err != nil {
		p.t.Fatal(err)
	}
	return wrong(p.ask(), apikey.Disabled)
}

func twinNotReached(p *parts) string {
	p.twins()
	p.beginScan().Add(p.hash, twin(twinID, true))
	return wrong(p.ask(), apikey.Disabled)
}

// completenessEnds: a document whose hash cannot be read appears long after the scan.
// Nothing has been evicted, so that the key is still answered from the cache.
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
	return wrong(p.ask(), apikey.Valid)
}
