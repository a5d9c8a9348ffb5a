package integration

import (
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/keycache"
)

// frontAnomalies are anomalies of the front, which holds decoded records of the entries.
func frontAnomalies() []anomaly {
	return []anomaly{
		{name: "change of a key that the front holds", shows: []string{"FrontChecked"}, stage: onParts(changedInFront), scopes: noStream},
		{name: "new base beside a record that the front holds", shows: []string{"FrontEra"}, stage: onParts(newBaseBehindFront), scopes: noStream},
		{name: "record of the front that a reader has modified", shows: []string{"FrontAudit"}, stage: onParts(modifiedInFront), scopes: noStream},
	}
}

// inFront scans a collection with this document, and requests it until the front holds it.
func (p *parts) inFront(f keycache.Finding) keycache.Answer {
	p.scanOf(f)
	p.cache.Get(p.hash)
	a, ok := p.cache.Get(p.hash)
	if !ok {
		p.t.Fatal("the key is a miss")
	}
	return a
}

func (p *parts) scanOf(f keycache.Finding) {
	scan := p.beginScan()
	scan.Add(p.hash, f)
	if err := scan.Finish(); err != nil {
		p.t.Fatal(err)
	}
}

func changedInFront(p *parts) string {
	p.write(true)
	p.open()
	p.inFront(duplicate(partsID, true))
	p.deliver(p.write(false))
	return violation(p.validate(), apikey.Disabled)
}

// newBaseBehindFront: the first scan was given a wrong record, the second one is not.
func newBaseBehindFront(p *parts) string {
	p.write(false)
	p.open()
	p.inFront(duplicate(partsID, true))
	p.scanOf(duplicate(partsID, false))
	return violation(p.validate(), apikey.Disabled)
}

func modifiedInFront(p *parts) string {
	p.write(false)
	p.open()
	p.inFront(duplicate(partsID, false)).Record.Active = true
	p.cache.Audit(p.cache.Begin(), p.hash, duplicate(partsID, false))
	return violation(p.validate(), apikey.Disabled)
}
