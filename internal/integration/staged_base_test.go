package integration

import (
	"fmt"
	"strings"
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/keycache"
)

// baseAnomalies are anomalies of the base that a scan fills, of the overlay beside it, and of slot
// tables that grow.
func baseAnomalies() []anomaly {
	return []anomaly{
		{name: "evicted by the scan and taken as absent", shows: []string{"AbsentEvictions"}, stage: onParts(evictedByScan), scopes: noStream},
		{name: "evicted by fills and taken as absent", shows: []string{"BaseSealed"}, stage: onParts(evictedByFills), scopes: noStream},
		{name: "new key that is evicted and taken as absent", shows: []string{"AbsentBeside"}, stage: onParts(evictedNewKey), scopes: noStream},
		{name: "wrong entry that an audit has found", shows: []string{"EndedEntries"}, stage: onParts(auditedEntry), scopes: noStream},
		{name: "entry that is older than the slots", shows: []string{"SlotsBirth"}, stage: onParts(olderThanSlots), scopes: noStream},
		{name: "change while a base is built aside", shows: []string{"StampAside"}, stage: onParts(changedAside), scopes: noStream},
		{name: "completeness that ends", shows: []string{"CoveredStays"}, stage: onParts(completenessEnds), scopes: noStream},
	}
}

// large are 60 MB of other keys: more than the cache holds.
func large(add func(h apikey.Hash, f keycache.Finding)) {
	record := apikey.Record{UserID: "user-1", Name: strings.Repeat("x", 1000), Scopes: []string{strings.Repeat("y", 14000)}}
	for i := range 4000 {
		other := record
		other.KeyID = fmt.Sprint("large-", i)
		add(apikey.HashOf(other.KeyID), keycache.Found(apikey.DocID(other.KeyID), &other))
	}
}

// evictedByScan: a scan reads more than the base holds.
func evictedByScan(p *parts) string {
	p.write(true)
	p.open()
	scan := p.beginScan()
	scan.Add(p.hash, duplicate(partsID, true))
	large(scan.Add)
	_ = scan.Finish() // it fails, with the guard
	return violation(p.validate(), apikey.Valid)
}

// fills stores other keys like reads on demand. One of 4000 changes could share a slot with the key.
func (p *parts) fills() {
	large(func(h apikey.Hash, f keycache.Finding) { p.cache.Store(p.cache.Begin(), h, f) })
}

func evictedByFills(p *parts) string {
	p.write(true)
	p.open()
	p.scan()
	p.fills()
	return violation(p.validate(), apikey.Valid)
}

// evictedNewKey: a key is created after the scan, an audit sees it, and then it is evicted.
func evictedNewKey(p *parts) string {
	p.open()
	p.scan()
	p.appears()
	scan, err := p.cache.BeginScan(keycache.ScanInPlace, 0)
	if err != nil {
		p.t.Fatal(err)
	}
	scan.Add(p.hash, duplicate(partsID, true))
	if err := scan.Finish(); err != nil {
		p.t.Fatal(err)
	}
	p.fills()
	return violation(p.validate(), apikey.Valid)
}

// auditedEntry: the scan was given a wrong record.
func auditedEntry(p *parts) string {
	p.write(false)
	p.open()
	scan := p.beginScan()
	scan.Add(p.hash, duplicate(partsID, true))
	if err := scan.Finish(); err != nil {
		p.t.Fatal(err)
	}
	if !p.cache.Audit(p.cache.Begin(), p.hash, duplicate(partsID, false)) {
		p.t.Fatal("the audit finds no difference")
	}
	return violation(p.validate(), apikey.Disabled)
}

// fewSlots are those of a new cache. moreKeys need larger slot tables.
const (
	fewSlots = 1 << 16
	moreKeys = fewSlots + 1
)

// olderThanSlots: an entry of the overlay has been stamped in the former tables.
func olderThanSlots(p *parts) string {
	p.write(true)
	p.open()
	p.scan()
	p.deliver(p.write(true))
	p.validate()
	p.deliver(p.write(false))
	if _, err := p.cache.BeginScan(keycache.ScanIntoEmpty, moreKeys); err != nil {
		p.t.Fatal(err)
	}
	return violation(p.validate(), apikey.Disabled)
}

// changedAside: the key is disabled after the scan has read it.
func changedAside(p *parts) string {
	p.write(true)
	p.open()
	p.scan()
	scan, err := p.cache.BeginScan(keycache.ScanAside, moreKeys)
	if err != nil {
		p.t.Fatal(err)
	}
	scan.Add(p.hash, duplicate(partsID, true))
	p.deliver(p.write(false))
	if err := scan.Finish(); err != nil {
		p.t.Fatal(err)
	}
	return violation(p.validate(), apikey.Disabled)
}

// completenessEnds: a document with an unreadable hash appears long after the scan, and after a
// change of the key. No entry was evicted, so the cache still answers for the key.
func completenessEnds(p *parts) string {
	p.write(true)
	p.open()
	p.scan()
	p.deliver(p.write(true))
	p.validate()
	time.Sleep(2 * keycache.DefaultMaxAge)
	p.cache.Apply(&keycache.Change{ID: "another document", Time: p.write(true), Unreadable: true})
	p.fresh()
	if _, ok := p.cache.Get(p.hash); !ok {
		return "the key is a miss although nothing was evicted"
	}
	return violation(p.validate(), apikey.Valid)
}
